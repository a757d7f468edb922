package subjects

import (
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

// Method is a method of the Module API, as its rpc in schemas declares it. There is one for each method, so two can be compared
// with ==. It must not be changed.
type Method struct {
	// Name is Synapse's, such as get_userinfo_by_id.
	Name string

	// Options are the options of the declaration.
	Options *moduleapiv1.MethodOptions

	request, reply func() proto.Message
}

// APIMethod is a method together with the types of its messages.
type APIMethod[Request, Reply proto.Message] struct{ *Method }

var methods []*Method

// Methods returns every method of the Module API, in order of their declaration. The caller may change the slice.
func Methods() []*Method { return append([]*Method(nil), methods...) }

// FindMethod returns the method with a name, and whether there is one.
func FindMethod(name string) (*Method, bool) {
	for _, m := range methods {
		if m.Name == name {
			return m, true
		}
	}
	return nil, false
}

// ReadDecisions is the scope of modules that are handed the records of all decisions. It belongs to no method: see
// [Server.Decisions].
const ReadDecisions = "decisions.read"

// Scopes returns the scopes that an operator can grant: those that modules do not have by default. Each is there once; the
// caller may change the slice.
func Scopes() []string {
	scopes := []string{ReadDecisions}
	seen := map[string]bool{}
	for _, m := range methods {
		if s := m.Options.GetScope(); !m.Options.GetByDefault() && !seen[s] {
			seen[s] = true
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// NewRequest returns an empty request.
func (m *Method) NewRequest() proto.Message { return m.request() }

// NewReply returns an empty reply.
func (m *Method) NewReply() proto.Message { return m.reply() }

func declareMethod[Request, Reply proto.Message](s protoreflect.ServiceDescriptor, name string, i int) APIMethod[Request, Reply] {
	d := s.Methods().Get(i)
	m := &Method{
		Name:    name,
		Options: proto.GetExtension(d.Options(), moduleapiv1.E_Method).(*moduleapiv1.MethodOptions),
		request: maker[Request](),
		reply:   maker[Reply](),
	}
	methods = append(methods, m)
	return APIMethod[Request, Reply]{m}
}

// API is where a module calls a method of the Module API.
func (s Server) API(m *Method, module string) string { return s.module(module, "api."+m.Name) }

// APIAny matches API of every module and every method.
func (s Server) APIAny() string { return s.root + "module.*.api.*" }

// APICancel is where a module cancels a call.
func (s Server) APICancel(module string) string { return s.module(module, "api_cancel") }

// APICancelAny matches APICancel of every module.
func (s Server) APICancelAny() string { return s.root + "module.*.api_cancel" }

var errNoMethod = errors.New("subjects: this is not about a method of the Module API")

// MethodOf returns the module and the method's name of an API subject; an error for any other subject.
func MethodOf(subject string) (module, name string, err error) {
	dot := strings.LastIndexByte(subject, '.')
	prefix, ok := strings.CutSuffix(subject[:max(dot, 0)], ".api")
	if !ok {
		return "", "", errNoMethod
	}
	module, err = ModuleOf(prefix + ".api")
	return module, subject[dot+1:], err
}
