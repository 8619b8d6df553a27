//go:build !unix

package fsys

import "io/fs"

// noFollow has no counterpart: a link is found after it was opened.
const noFollow = 0

// Owners and rights are what access control lists say, which are inherited from
// the directory.

func owner(fs.FileInfo) (uid uint32, ours bool) { return 0, true }

func shared(fs.FileInfo) bool { return false }

func oneName(fs.FileInfo) bool { return true }
