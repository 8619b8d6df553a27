package walk

import (
	"os/user"
	"strconv"
	"sync"
)

// names caches the names of numeric ids: a tree has few owners and many files.
type names struct {
	lookup func(id string) (string, error)
	known  sync.Map // uint32 -> string
}

func newNames(lookup func(id string) (string, error)) *names { return &names{lookup: lookup} }

// of returns the name of an id, or the id in decimal if it has none.
func (n *names) of(id uint32) string {
	if name, ok := n.known.Load(id); ok {
		return name.(string)
	}
	text := strconv.FormatUint(uint64(id), 10)
	if name, err := n.lookup(text); err == nil && name != "" {
		text = name
	}
	n.known.Store(id, text)
	return text
}

func userName(id string) (string, error) {
	u, err := user.LookupId(id)
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

func groupName(id string) (string, error) {
	g, err := user.LookupGroupId(id)
	if err != nil {
		return "", err
	}
	return g.Name, nil
}
