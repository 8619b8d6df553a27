package main

import (
	"context"
	"io"
)

// reports are the commands that read the catalogue only.
var reports = map[string]func(){}

func report(context.Context, func(), []string, io.Writer, io.Writer) int { return exitUsage }
