package memdbwriter

import (
	"math/rand/v2"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// killPlan is the lives of a chain; an empty step is a random moment.
type killPlan struct {
	level Durability
	steps []string
}

// allSteps are the places of the code that call step, and the operations of
// the file system, each before and after it. The levels are those at which a
// process gets there.
func allSteps() map[Durability][]string {
	rows := []string{"rows taken", "rows journaled", "rows staged", "batch loaded", "batch sending", "batch committed", "batch out of memory", "batch settled"}
	disk := []string{"checkpoint begins", "checkpoint filled", "checkpoint made", "recovery begins", "recovery replayed"}
	for _, op := range []faultfs.Op{faultfs.Create, faultfs.Write, faultfs.Sync, faultfs.Rename} {
		disk = append(disk, string(op)+" checkpoint", string(op)+" checkpoint done")
	}
	for _, op := range []faultfs.Op{faultfs.Create, faultfs.Write, faultfs.Sync, faultfs.Remove} {
		disk = append(disk, string(op)+" journal", string(op)+" journal done")
	}
	disk = append(disk, string(faultfs.SyncDir)+" directory", string(faultfs.SyncDir)+" directory done")
	disk = slices.Concat(rows, disk)
	return map[Durability][]string{DurabilityNone: rows, DurabilityJournal: disk, DurabilityFsync: disk}
}

// plan makes chains of five lives. With enough of them every step is there, at
// every level where it exists; about every third kill is at a random moment.
func plan(rng *rand.Rand, kills int) (plans []killPlan) {
	todo := map[Durability][]string{}
	for made, i := 0, 0; made < kills; i++ {
		level := []Durability{DurabilityFsync, DurabilityJournal, DurabilityNone}[i%3]
		p := killPlan{level: level}
		for range 5 {
			if len(todo[level]) == 0 {
				steps := allSteps()[level]
				todo[level] = append(slices.Clone(steps), make([]string, len(steps)/2)...)
				rng.Shuffle(len(todo[level]), func(i, j int) { todo[level][i], todo[level][j] = todo[level][j], todo[level][i] })
			}
			p.steps = append(p.steps, todo[level][0])
			todo[level] = todo[level][1:]
		}
		made += len(p.steps)
		plans = append(plans, p)
	}
	return plans
}
