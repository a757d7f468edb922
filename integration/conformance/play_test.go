package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/combine"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// performance is what came of playing a record.
type performance struct {
	*vector
	stage *stage

	got      any // what the homeserver got
	by       string
	failures []bus.Failure
	asked    []question

	differences []difference
}

// difference is one way in which a performance is not what was recorded.
type difference struct {
	what string // value, module, called, saw
	text string
}

// perform plays a record.
func (s *stage) perform(t *testing.T, r *vector) *performance {
	t.Helper()
	p := &performance{vector: r, stage: s}
	if !r.known() {
		p.differ("value", "no callback has that name, or no dialect")
		return p
	}
	sc := &scene{vector: r, arrived: make(chan struct{}, 1)}
	s.mu.Lock()
	s.scene = sc
	s.mu.Unlock()
	if shape := shapeOf(r); shape != s.shape {
		s.shape, s.unaccepted = shape, s.direct(t, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testbed.Patience)
	defer cancel()
	if s.unaccepted != "" {
		p.got = unstarted{s.unaccepted}
	} else {
		p.got = p.play(ctx)
	}
	p.asked = s.asked()
	p.compare()
	if sc.trouble != nil {
		p.differ("others", "%v", sc.trouble)
	}
	return p
}

// known reports whether there is such a callback, and how to say what it returns.
func (r *vector) known() bool { return r.declaration != nil && r.dialectOf(r.Callback).say != nil }

// play is what the homeserver does.
func (p *performance) play(ctx context.Context) any {
	switch p.Callback {
	case "auth_checkers":
		return p.login(ctx)
	case "federated_user_may_invite":
		return p.invite(ctx)
	case "on_update":
		return p.update(ctx)
	}
	d, err := p.ask(ctx, p.Callback, p.request)
	if a, ok := d.Answer.(*callbacksv1.Check3PidAuthResponse); ok && err == nil {
		p.finishLogin(ctx, d.DecidedBy, a)
	}
	return p.heard(p.Callback, d, err)
}

func (p *performance) ask(ctx context.Context, callback string, args map[string]any) (bus.Decision[proto.Message], error) {
	d, ok := subjects.Find(callback)
	if !ok {
		return bus.Decision[proto.Message]{}, fmt.Errorf("there is no callback %s", callback)
	}
	request, err := requestOf(d, args)
	if err != nil {
		return bus.Decision[proto.Message]{}, err
	}
	return p.send(ctx, d, request)
}

func (p *performance) send(ctx context.Context, d *subjects.Declaration, request proto.Message) (bus.Decision[proto.Message], error) {
	decision, err := p.stage.ask(ctx, d, request)
	p.failures = append(p.failures, decision.Failures...)
	if failure, ok := err.(*bus.Error); ok {
		p.by = failure.Module
	} else if !d.FollowUp() {
		p.by = decision.DecidedBy
	}
	return decision, err
}

// login is what Synapse does around auth_checkers: what nobody registered for it refuses, and fields that the last
// module to register wants must be there.
func (p *performance) login(ctx context.Context) any {
	fields, known := p.loginFields()
	login := object(p.request["login_dict"])
	var missing []string
	for _, field := range fields {
		if _, ok := login[field]; !ok {
			missing = append(missing, field)
		}
	}
	if len(missing) > 0 {
		text := fmt.Sprintf("Missing parameters for login type %s: %s", p.Args["login_type"], pythonList(missing))
		return unauthenticated{400, "M_UNKNOWN", text}
	}
	d, err := p.ask(ctx, p.Callback, p.request)
	if a, ok := d.Answer.(*callbacksv1.AuthCheckersResponse); ok && err == nil {
		p.finishLogin(ctx, d.DecidedBy, a)
	}
	got := p.heard(p.Callback, d, err)
	if got != nil || p.Homeserver == nil {
		return got
	}
	known = known || p.Args["login_type"] == "m.login.password" && p.Homeserver["password_localdb_enabled"] == true
	if !known {
		return unauthenticated{400, "M_UNKNOWN", fmt.Sprintf("Unknown login type %s", p.Args["login_type"])}
	}
	return unauthenticated{403, "M_FORBIDDEN", "Invalid username or password"}
}

// finishLogin calls back the module that wants it. That its worker is told is part of what it was asked.
func (p *performance) finishLogin(ctx context.Context, actor string, a interface {
	GetTellLogin() bool
	GetToken() string
	GetUserId() string
},
) {
	if !a.GetTellLogin() {
		return
	}
	_, err := p.send(ctx, subjects.OnAuthCheckersLogin.Declaration, &callbacksv1.OnAuthCheckersLoginRequest{
		Module: actor, Token: a.GetToken(), Response: &callbacksv1.LoginResponse{UserId: a.GetUserId()},
	})
	last := p.stage.asked()[len(p.stage.asked())-1]
	if err != nil || last.cue != (cue{actor, "on_auth_checkers_login"}) {
		p.differ("called", "the login was not told to %s: %v", actor, err)
	}
}

// invite asks user_may_invite next unless the first one refuses.
func (p *performance) invite(ctx context.Context) any {
	d, err := p.ask(ctx, p.Callback, p.request)
	if got := p.heard(p.Callback, d, err); got != nil {
		return got
	}
	event := object(object(p.Args["event"])["json"])
	d, err = p.ask(ctx, "user_may_invite", map[string]any{
		"inviter": event["sender"], "invitee": event["state_key"], "room_id": event["room_id"],
	})
	return p.heard("user_may_invite", d, err)
}

// itemsPerMs is how fast the recorded background updates were: with nobody to say how long a batch should take, the
// second one has five items for each millisecond of the configured duration.
const itemsPerMs = 5

// update runs two batches of a background update.
func (p *performance) update(ctx context.Context) any {
	got := batches{First: p.configured("default_batch_size", 100)}
	for range 2 {
		d, err := p.ask(ctx, p.Callback, p.request)
		if err != nil {
			return p.heard("default_batch_size", d, err)
		}
		a, ok := d.Answer.(*callbacksv1.OnUpdateResponse)
		duration := p.configured("update_duration_ms", 100)
		if ok && a.TargetDurationMs != nil {
			duration = a.GetTargetDurationMs()
		}
		got.Second = max(itemsPerMs*duration, p.configured("min_batch_size", 1))
		if d.DecidedBy == "" {
			continue
		}
		end := &callbacksv1.OnUpdateEndRequest{Module: d.DecidedBy, Worker: a.GetWorker(), Token: a.GetToken()}
		if _, err := p.send(ctx, subjects.OnUpdateEnd.Declaration, end); err != nil {
			return err.Error()
		}
	}
	return got
}

func (p *performance) differ(what, format string, args ...any) {
	p.differences = append(p.differences, difference{what, fmt.Sprintf(format, args...)})
}

func (p *performance) only(what string) bool {
	return !slices.ContainsFunc(p.differences, func(d difference) bool { return d.what != what })
}

// compare finds how the performance differs from what was recorded.
func (p *performance) compare() {
	if diff := cmp.Diff(folded(p.wanted()), folded(p.got)); diff != "" {
		p.differ("value", "the homeserver got (-recorded +got):\n%s", diff)
	}
	if p.decisive() && p.by != p.last() {
		p.differ("module", "the word of %q counted, recorded %q", p.by, p.last())
	}
	p.compareCalls()
	p.compareRequests()
}

// folded is a refusal as a client sees it, to whom a field named errcode or error replaces the module's code or text.
func folded(v any) any {
	r, ok := v.(refusedWith)
	if !ok {
		return v
	}
	fields := object(decoded([]byte(r.Fields)))
	for name, at := range map[string]*string{"errcode": &r.Errcode, "error": &r.Text} {
		if text, ok := fields[name].(string); ok {
			*at = text
			delete(fields, name)
		}
	}
	r.Fields = string(encoded(fields))
	return r
}

// decisive reports whether what counted is the word of one module, which then is the last that was called.
func (p *performance) decisive() bool {
	_, refusal := p.got.(refusedWith)
	switch {
	case p.by == "":
		return false
	case p.got == raisedError{} || refusal:
		return true
	}
	return p.declaration.Options.GetRule() == callbacksv1.Rule_FIRST || p.declaration.Options.GetRule() == callbacksv1.Rule_SOLE
}

// compareCalls: where modules are asked one after the other, those and no others were asked. Where they are asked at the
// same time, more may have been, but none fewer.
func (p *performance) compareCalls() {
	var asked []cue
	for _, c := range p.asked {
		switch {
		case c.callback == "on_auth_checkers_login": // It is part of what the homeserver does next.
			continue
		case p.actor(c.actor) == nil || !slices.Contains(p.registers(p.actor(c.actor)), known(subjects.Find(c.callback))):
			p.differ("called", "%v was asked, and did not register it", c.cue)
		}
		asked = append(asked, c.cue)
	}
	want := p.steps()
	if !combine.Parallel(p.declaration.Options) {
		if !slices.Equal(asked, want) {
			p.differ("called", "called were %v, recorded %v", asked, want)
		}
		return
	}
	for _, s := range want {
		if !slices.Contains(asked, s) {
			p.differ("called", "called were %v, and not %v", asked, s)
		}
	}
}

func known[T any](v T, _ bool) T { return v }

// compareRequests: who was called saw what was recorded. That a function in Python takes fewer arguments is its affair.
func (p *performance) compareRequests() {
	want := p.steps()
	for _, c := range p.asked {
		args := p.saw(c.cue)
		if args == nil || !slices.Contains(want, c.cue) {
			continue
		}
		if err := p.compareRequest(c, args); err != nil {
			p.differ("saw", "%v: %v", c.cue, err)
		}
	}
}

func (p *performance) compareRequest(c question, args map[string]any) error {
	d := known(subjects.Find(c.callback))
	if c.request == nil {
		return errors.New("it could not read the request")
	}
	want, err := requestOf(d, args)
	if err != nil {
		return err
	}
	if declared.Of(d).File != nil {
		c.request.ProtoReflect().Clear(declared.Of(d).File) // It is another for each.
	}
	if proto.Equal(want, c.request) {
		return nil
	}
	if diff := cmp.Diff(printedRequest(want), printedRequest(c.request)); diff != "" {
		return fmt.Errorf("it saw (-recorded +got):\n%s", diff)
	}
	return nil
}

// printedRequest is equal also where raw JSON is written in another way.
func printedRequest(m proto.Message) any {
	raw, err := wire.ToJSON(m)
	if err != nil {
		return err.Error()
	}
	return decoded(raw)
}

// failedWith reports whether a module's failure was counted, as one of these.
func (p *performance) failedWith(actor string, kinds ...rosterv1.FailureKind) bool {
	return slices.ContainsFunc(p.failures, func(f bus.Failure) bool { return f.Module == actor && slices.Contains(kinds, f.Kind) })
}
