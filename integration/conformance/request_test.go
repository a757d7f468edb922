package conformance_test

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// requestOf is the request that a homeserver makes of the arguments. They have the names of the request's fields, and
// once the tags are off they are its JSON mapping; what differs is below. Of a value, what the field's type does not
// have stays behind.
func requestOf(d *subjects.Declaration, args map[string]any) (proto.Message, error) {
	fields := map[string]any{}
	for name, value := range args {
		if value == nil || name == "file_wrapper" { // A file's content comes with the context.
			continue
		}
		name, value = argument(d, name, value)
		if declared.Of(d).RequestFields.ByTextName(name) == nil {
			return nil, fmt.Errorf("%s has no argument %s", d.FullName(), name)
		}
		fields[name] = value
	}
	request := d.NewRequest()
	if err := wire.FromJSON(encoded(fields), request, false); err != nil {
		return nil, fmt.Errorf("the arguments are not those of %s: %w", d.FullName(), err)
	}
	return request, nil
}

func argument(d *subjects.Declaration, name string, value any) (string, any) {
	has := func(field string) bool { return declared.Of(d).RequestFields.ByTextName(field) != nil }
	switch {
	case name == "request_info":
		return name, requestInfo(value)
	case declared.Of(d).State != nil && name == declared.Of(d).State.TextName():
		return name, stateEvents(value)
	case name == "event" && !has(name): // It is asked about many at once.
		return "events", []any{untagged(value)}
	case name == "user" && !has(name): // Synapse renamed it.
		return "user_id", value
	}
	return name, untagged(value)
}

// requestInfo has tuples of user agent and IP address.
func requestInfo(value any) any {
	list, _ := value.([]any)
	all := []any{}
	for _, item := range list {
		agent, ip, ok := tuple(item)
		if pair, isList := item.([]any); isList && len(pair) == 2 {
			agent, ip, ok = pair[0], pair[1], true
		}
		if ok {
			item = map[string]any{"user_agent": agent, "ip": ip}
		}
		all = append(all, item)
	}
	return all
}

// stateEvents is a list of events, or of what a map with tuples for keys has.
func stateEvents(value any) any {
	list, isList := value.([]any)
	if !isList {
		list = items(value)
	}
	all := []any{}
	for _, item := range list {
		event := item
		if tag(item) != "event" {
			event = object(item)["event"]
		}
		raw := object(object(event)["json"])
		all = append(all, map[string]any{"type": raw["type"], "state_key": raw["state_key"], "event": untagged(event)})
	}
	return all
}
