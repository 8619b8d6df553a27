package fsys

// A directory cannot be flushed on Windows; NTFS keeps its own log of changes
// to directories.
const dirsCanSync = false
