// Package bridge lets packages of this module make what its users cannot. The
// root package fills it in before main begins.
package bridge

import "github.com/memdbwriter/memdbwriter/internal/dest"

// Destination makes a *memdbwriter.Destination.
var Destination func(dest.Destination) any
