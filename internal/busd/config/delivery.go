package config

import (
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// deliveries are the ways in which news can be delivered. The first is the default.
var deliveries = []string{"at_most_once", "at_least_once"}

// delivery is the key for whether news is delivered at least once: of the callback or, if d is nil, of a whole module.
func delivery(d *subjects.Declaration) func(*bool) slot {
	return func(dst *bool) slot {
		return slot{
			read: func(v value) {
				if wrong := undeliverable(d); wrong != "" {
					v.fail("%s", wrong)
					return
				}
				var word string
				text(&word, oneOf(deliveries)).read(v)
				*dst = word == deliveries[1]
			},
			show: func() string {
				if *dst {
					return deliveries[1]
				}
				return deliveries[0]
			},
		}
	}
}

// undeliverable returns why the callback's requests cannot be delivered later; empty if they can, and for whole
// modules.
func undeliverable(d *subjects.Declaration) string {
	switch {
	case d == nil:
		return ""
	case d.Options.GetRule() != callbacksv1.Rule_NOTIFY:
		return "cannot be: " + d.FullName() +
			" decides something, and its answer is waited for (only callbacks that tell can be delivered later; remove it)"
	case d.FollowUp():
		return "cannot be: " + d.FullName() + " is for the worker that answered before, and late it is of no use to anybody (remove it)"
	}
	return ""
}

// maxReplicas bounds the servers of a cluster that keep a piece of news, as JetStream does. Beyond: it is a mistake in the file.
const maxReplicas = 5

// replicas is the key for how many servers keep a piece of news. 0 leaves it to busd.
func replicas(dst *int) slot {
	return slot{
		read: func(v value) {
			if count(dst).read(v); *dst > maxReplicas {
				v.fail("must be at most %d, not %d", maxReplicas, *dst)
			}
		},
		show: func() string {
			if *dst == 0 {
				return ""
			}
			return count(dst).show()
		},
	}
}
