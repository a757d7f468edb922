package roster

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Limits of the roster, so that no sender of joins can fill it. A module that exceeds one is told so, and only that module is
// affected. A callback is never left out for its size: it stays wanted, and its module is absent for it.
const (
	// maxPaths bounds the web resources of one module. Beyond: the first in alphabetical order are served, and the module is
	// told of the rest.
	maxPaths = 256

	// maxNeeds bounds what one worker needs of one callback, in bytes. Beyond: the module is absent for the callback.
	maxNeeds = 4 << 10

	// maxAllNeeds bounds what one worker needs of all callbacks, in bytes. Beyond: the module is absent for those that do not
	// fit.
	maxAllNeeds = 64 << 10

	// maxModule bounds what the workers of one module register if they differ, in bytes. Beyond: only the names of
	// callbacks that another worker registers count, and the module is absent for those that need something.
	maxModule = 256 << 10

	// maxRoster bounds the roster, in bytes. Beyond: a module that does not fit is absent.
	maxRoster = 16 << 20

	// maxWorkers bounds the workers of one module. Beyond: the one that has been silent for longest is forgotten.
	maxWorkers = 1024

	// maxVersion bounds the version of a module, in bytes. Beyond: it is cut.
	maxVersion = 64

	// maxName bounds the name of a worker, and of a module that is not listed, in bytes. Beyond: it does not count.
	maxName = 128

	// maxUnlisted bounds the modules that join without being listed. Beyond: more are not reported.
	maxUnlisted = 64

	// maxProblems bounds the sentences in the reply to a join. Beyond: a last one says how many more there are.
	maxProblems = 16
)

// limits are those of one worker's registration.
type limits struct{ workers, paths, needs, allNeeds int }

// limitsOf returns what a module may register. A module that is not listed may register little, because it is only
// reported.
func limitsOf(listed bool) limits {
	if listed {
		return limits{workers: maxWorkers, paths: maxPaths, needs: maxNeeds, allNeeds: maxAllNeeds}
	}
	return limits{workers: 4, paths: 4, needs: 256, allNeeds: 1 << 10}
}

// accept returns the part of a join that is within the limits and known here, and a sentence for each part that is not.
func accept(j *rosterv1.Join, l limits) (*rosterv1.Join, []string) {
	out := &rosterv1.Join{
		Json: j.GetJson(), Pulls: j.GetPulls(), Batch: j.GetBatch(), Needs: map[string]*rosterv1.Needs{}, Unserved: map[string]string{},
	}
	problems := acceptCallbacks(out, j, l)
	problems = append(problems, acceptPaths(out, j, l)...)
	return out, append(problems, pair(out)...)
}

func acceptCallbacks(out, j *rosterv1.Join, l limits) (problems []string) {
	names, left := slices.Compact(slices.Sorted(slices.Values(j.GetCallbacks()))), l.allNeeds
	for _, name := range names {
		d, ok := subjects.Find(name)
		if !ok {
			problems = append(problems, fmt.Sprintf("this busd knows no callback %q, so nobody asks it", wire.OneLine(name)))
			continue
		}
		out.Callbacks = append(out.Callbacks, d.FullName())
		needs := j.GetNeeds()[name]
		if size := proto.Size(needs); size > l.needs || size > left {
			why := fmt.Sprintf("what the module needs of %s takes %d bytes, and %d are left of %d for one callback and %d for all",
				d.FullName(), size, min(left, l.needs), l.needs, l.allNeeds)
			out.Unserved[d.FullName()] = why
			problems = append(problems, why+": it is not asked, and counts as absent")
		} else if needs != nil {
			left -= size
			out.Needs[d.FullName()] = needs
		}
	}
	slices.Sort(out.Callbacks)
	out.Callbacks = slices.Compact(out.Callbacks)
	return problems
}

func acceptPaths(out, j *rosterv1.Join, l limits) (problems []string) {
	paths := slices.Compact(slices.Sorted(slices.Values(j.GetWebResources())))
	for _, path := range paths {
		if err := webpath.Check(path); err != nil {
			problems = append(problems, err.Error())
		} else if len(out.WebResources) < l.paths {
			out.WebResources = append(out.WebResources, path)
		}
	}
	if len(paths) > l.paths {
		problems = append(problems, tooManyPaths)
	}
	return problems
}

var tooManyPaths = fmt.Sprintf("a module may have %d web resources, so only the first %d, in alphabetical order, are served", maxPaths, maxPaths)

// reduced returns the part of a registration that counts if all of it is too much to remember: the names of its
// callbacks.
func reduced(j *rosterv1.Join) *rosterv1.Join {
	out := &rosterv1.Join{Callbacks: j.GetCallbacks(), Json: j.GetJson(), Pulls: j.GetPulls(), Batch: j.GetBatch(), Unserved: map[string]string{}}
	for name := range j.GetNeeds() {
		out.Unserved[name] = "its workers need too many different things of " + name
	}
	maps.Copy(out.Unserved, j.GetUnserved())
	return out
}

// unite returns the union of what workers register. If one worker wants JSON, all get it, because every worker can read
// it. Questions are pulled only if every worker can do that, and a batch is as large as the smallest that a worker
// accepts.
func unite(all []*rosterv1.Join) *rosterv1.Join {
	out := &rosterv1.Join{Pulls: true, Batch: math.MaxUint32, Needs: map[string]*rosterv1.Needs{}, Unserved: map[string]string{}}
	for _, j := range all {
		out.Callbacks = append(out.Callbacks, j.GetCallbacks()...)
		out.WebResources = append(out.WebResources, j.GetWebResources()...)
		out.Json = out.Json || j.GetJson()
		out.Pulls = out.Pulls && j.GetPulls()
		out.Batch = min(out.Batch, j.GetBatch())
		for name, needs := range j.GetNeeds() {
			out.Needs[name] = uniteNeeds(out.Needs[name], needs)
		}
		maps.Copy(out.Unserved, j.GetUnserved())
	}
	slices.Sort(out.Callbacks)
	slices.Sort(out.WebResources)
	out.Callbacks, out.WebResources = slices.Compact(out.Callbacks), slices.Compact(out.WebResources)
	out.WebResources = out.WebResources[:min(len(out.WebResources), maxPaths)]
	return out
}

// uniteNeeds returns the union of two workers' needs. It does not change them.
func uniteNeeds(a, b *rosterv1.Needs) *rosterv1.Needs {
	if a == nil || proto.Equal(a, b) {
		return b
	}
	u := proto.CloneOf(a)
	for _, k := range b.GetKeys() {
		i := slices.IndexFunc(u.Keys, func(o *rosterv1.Key) bool { return o.GetValue() == k.GetValue() })
		if i < 0 {
			u.Keys = append(u.Keys, proto.CloneOf(k))
			continue
		}
		u.Keys[i].Fields = slices.Compact(slices.Sorted(slices.Values(slices.Concat(u.Keys[i].Fields, k.GetFields()))))
	}
	u.State = wire.UniteFilters(a.GetState(), b.GetState())
	return u
}

// pair removes the callbacks of categories that must be registered as a whole and are not.
func pair(j *rosterv1.Join) (problems []string) {
	for _, c := range subjects.Categories() {
		has := func(d *subjects.Declaration) bool { return slices.Contains(j.GetCallbacks(), d.FullName()) }
		hasNot := func(d *subjects.Declaration) bool { return !has(d) }
		if !c.AllOrNone || !slices.ContainsFunc(c.Callbacks, has) || !slices.ContainsFunc(c.Callbacks, hasNot) {
			continue
		}
		j.Callbacks = slices.DeleteFunc(j.Callbacks, func(name string) bool { return strings.HasPrefix(name, c.Name+".") })
		problems = append(problems, c.Name+": all of its callbacks must be registered or none; none counts now")
	}
	return problems
}

func version(j *rosterv1.Join) string {
	return wire.OneLine(j.GetVersion()[:min(len(j.GetVersion()), maxVersion)])
}

// unserved returns the parts of its registration that a worker says it cannot serve.
func unserved(j *rosterv1.Join) map[string]string {
	out := map[string]string{}
	for name, why := range j.GetUnserved() {
		if d, ok := subjects.Find(name); ok {
			name = d.FullName()
		}
		if len(out) < maxPaths && len(name) <= webpath.MaxLen {
			out[name] = wire.OneLine(why)
		}
	}
	return out
}

// shortened keeps a list of problems readable, and the reply to a join small.
func shortened(problems []string) []string {
	if len(problems) <= maxProblems {
		return problems
	}
	return append(slices.Clone(problems[:maxProblems]), fmt.Sprintf("and %d more", len(problems)-maxProblems))
}
