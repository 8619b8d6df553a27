package sqlitedest

func writeUntilKilled() bool { return false }
