//go:build !unix

package catalog

import "io/fs"

// trusted knows of no owners here.
func trusted(string, fs.FileInfo) error { return nil }
