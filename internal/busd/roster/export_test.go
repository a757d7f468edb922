package roster

import "time"

// SetRoom bounds the roster to so many bytes.
func (r *Roster) SetRoom(bytes int) { r.room = bytes }

// Limits are the numbers that docs/protocol.md must say, by the row that says them.
func Limits() map[string][]int {
	return map[string][]int{
		"web resources of one module":             {maxPaths},
		"what one worker needs of one callback":   {maxNeeds, maxAllNeeds},
		"what the workers of one module register": {maxModule},
		"a roster":                                {maxRoster},
		"problems in the reply to a join":         {maxProblems},
		"workers of one module":                   {maxWorkers},
		"name of a worker":                        {maxName},
		"version of a module":                     {maxVersion},
		"modules that join without being listed":  {maxUnlisted},
		"joins, leaves and entries of one module": {maxSaid, maxSaidAtOnce},
		"rosters that homeservers are told":       {maxTold, maxToldAtOnce},
	}
}

// What the tests of throttle need.
const (
	MaxVoices     = maxVoices
	MaxSaidAtOnce = maxSaidAtOnce
)

var NewThrottle = newThrottle

// Allows is allows.
func (t *throttle) Allows(module string, now time.Time) bool { return t.allows(module, now) }

// Count is how many are remembered.
func (t *throttle) Count() int { return len(t.voices) }

// Made is how many modules' parts of the roster were made.
func (r *Roster) Made() int { return r.made }

// Remake makes all parts of the roster anew.
func (r *Roster) Remake(now time.Time) {
	for _, m := range r.listed {
		m.stale = true
	}
	r.update(now)
}
