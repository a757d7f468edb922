package main

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const options = "modulebus."

// Category is a service, as the templates see it.
type Category struct {
	Go, Name, File string
	Index          int // of the service in its file
	Comment        string
	AllOrNone      bool
	Callbacks      []Callback
}

// Callback is an rpc, as the templates see it.
type Callback struct {
	Go, Name           string
	Index              int // of the rpc in its service
	Comment            string
	Request, Reply     Message
	Rule, OnFailure    string
	OnFailureFederated string
	Speculative        bool
	Since              string
	FollowUp           bool     // no callback of Synapse's, but the second half of one
	Follows            []string // names of the callbacks that it is the second half of
	Keyed              bool     // modules register for values of a field of the request
}

// Message is a message, as the templates see it.
type Message struct {
	Go, Comment string
	Fields      []Field
}

// Field is a field, as the templates see it.
type Field struct{ Name, Type, Comment string }

// Catalogue is all that the templates see.
type Catalogue struct {
	Categories []Category
	Types      []Message // those that several callbacks share
	API        []Method  // what modules may ask of the homeserver
	APITypes   []Message // those of the Module API that are no request and no reply
}

// Method is an rpc of the Module API, as the templates see it.
type Method struct {
	Go, Name       string
	Index          int
	Comment        string
	Request, Reply Message
	Scope, Since   string
	ByDefault      bool
}

func categoriesOf(files []protoreflect.FileDescriptor) Catalogue {
	var all Catalogue
	for _, f := range files {
		for i := range f.Services().Len() {
			if s := f.Services().Get(i); s.Name() == "ModuleApi" {
				all.API, all.APITypes = methodsOf(s), sharedIn(f)
				continue
			}
			all.Categories = append(all.Categories, categoryOf(f.Services().Get(i)))
		}
		if strings.HasSuffix(f.Path(), "/types.proto") {
			for i := range f.Messages().Len() {
				all.Types = append(all.Types, messageOf(f.Messages().Get(i)))
			}
		}
	}
	return all
}

// sharedIn are the messages of a file that are no request and no reply, nor options.
func sharedIn(f protoreflect.FileDescriptor) []Message {
	var all []Message
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		name := string(m.Name())
		if m.Name() != "MethodOptions" && !strings.HasSuffix(name, "Request") && !strings.HasSuffix(name, "Response") {
			all = append(all, messageOf(m))
		}
	}
	return all
}

func methodsOf(s protoreflect.ServiceDescriptor) []Method {
	var all []Method
	for i := range s.Methods().Len() {
		d := s.Methods().Get(i)
		m := Method{
			Go: string(d.Name()), Name: snake(string(d.Name())), Index: i, Comment: comment(d),
			Request: messageOf(d.Input()), Reply: messageOf(d.Output()),
		}
		if o := option(d, "method"); o != nil {
			m.Scope, m.Since, m.ByDefault = field(o, "scope").String(), field(o, "since").String(), field(o, "by_default").Bool()
		}
		all = append(all, m)
	}
	return all
}

func categoryOf(s protoreflect.ServiceDescriptor) Category {
	c := Category{
		Go:      string(s.Name()),
		Name:    snake(string(s.Name())),
		File:    "File_" + strings.NewReplacer("/", "_", ".", "_").Replace(s.ParentFile().Path()),
		Index:   s.Index(),
		Comment: comment(s),
	}
	if m := option(s, "category"); m != nil {
		c.AllOrNone = field(m, "all_or_none").Bool()
	}
	for i := range s.Methods().Len() {
		c.Callbacks = append(c.Callbacks, callbackOf(s.Methods().Get(i)))
	}
	return c
}

func callbackOf(m protoreflect.MethodDescriptor) Callback {
	c := Callback{
		Go:      string(m.Name()),
		Name:    snake(string(m.Name())),
		Index:   m.Index(),
		Comment: comment(m),
		Request: messageOf(m.Input()),
		Reply:   messageOf(m.Output()),
	}
	for i := range m.Input().Fields().Len() {
		c.Keyed = c.Keyed || marked(m.Input().Fields().Get(i), "key")
	}
	if o := option(m, "callback"); o != nil {
		c.Rule = enum(o, "rule")
		c.OnFailure = strings.ToLower(enum(o, "on_failure"))
		if o.Has(o.Descriptor().Fields().ByName("on_failure_federated")) {
			c.OnFailureFederated = strings.ToLower(enum(o, "on_failure_federated"))
		}
		c.Speculative = field(o, "speculative").Bool()
		c.Since = field(o, "since").String()
		for i := range field(o, "follows").List().Len() {
			c.Follows = append(c.Follows, snake(field(o, "follows").List().Get(i).String()))
		}
		c.FollowUp = len(c.Follows) > 0
	}
	return c
}

func messageOf(m protoreflect.MessageDescriptor) Message {
	out := Message{Go: string(m.Name()), Comment: comment(m)}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		out.Fields = append(out.Fields, Field{string(f.Name()), typeOf(f), comment(f)})
	}
	return out
}

// typeOf says what the field holds in the JSON mapping.
func typeOf(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.IsMap():
		return "map of " + typeOf(f.MapValue())
	case f.Message() != nil:
		name = string(f.Message().Name())
	case f.Enum() != nil:
		name = string(f.Enum().Name())
	case marked(f, "raw_json"):
		name = "JSON"
	}
	switch {
	case f.IsList():
		return "list of " + name
	case f.HasOptionalKeyword():
		return "optional " + name
	}
	return name
}

func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, " ")
	}
	return strings.Join(lines, "\n")
}

// option returns the message that the declaration sets for one of our options, or nil.
func option(d protoreflect.Descriptor, name string) protoreflect.Message {
	v, ok := extension(d, name)
	if !ok {
		return nil
	}
	return v.Message()
}

func marked(d protoreflect.Descriptor, name string) bool {
	v, ok := extension(d, name)
	return ok && v.Bool()
}

func extension(d protoreflect.Descriptor, name string) (value protoreflect.Value, found bool) {
	d.Options().(proto.Message).ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() == protoreflect.Name(name) && strings.HasPrefix(string(f.FullName()), options) {
			value, found = v, true
		}
		return !found
	})
	return value, found
}

func field(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

func enum(m protoreflect.Message, name string) string {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	return string(f.Enum().Values().ByNumber(m.Get(f).Enum()).Name())
}

// snake spells a Go name as Synapse does: UserMaySend3PidInvite is user_may_send_3pid_invite.
func snake(name string) string {
	var b strings.Builder
	var last rune
	for i, r := range name {
		word := unicode.IsUpper(r) && !unicode.IsDigit(last) || unicode.IsDigit(r) && unicode.IsLetter(last)
		if i > 0 && word {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	return b.String()
}
