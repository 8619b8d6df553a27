package memdbwriter

// atStep is called at every step of a row's way, from the goroutine that has
// taken it. Nil but in a test that ends the process there.
var atStep func(step string)

// step says that a row, a checkpoint or a recovery has come to a point at which
// a crash must do no harm.
func step(name string) {
	if atStep != nil {
		atStep(name)
	}
}
