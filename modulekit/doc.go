// Package modulekit is the module's side: it connects a program to a homeserver's bus, so that the homeserver can ask it.
//
//	func main() { modulekit.Main(modulekit.Module[config]{New: newGate}) }
//
//	type config struct { Deny []string `json:"deny"` }
//
//	func newGate(c config, api *modulekit.ModuleAPI) error {
//		g := gate{c.Deny}
//		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: g.userMayCreateRoom})
//		return nil
//	}
//
//	func (g gate) userMayCreateRoom(ctx context.Context, req *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
//		if !slices.Contains(g.deny, req.GetUserId()) {
//			return nil, nil // no opinion
//		}
//		return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "Not you")}, nil
//	}
//
// # Life
//
// As in Synapse: the configuration is parsed, the module is constructed and registers what it implements, and is then
// asked. When the operator changes the configuration, it is parsed and constructed again beside the running instance,
// which it replaces if that succeeded. A program may run any number of times, on any number of machines: each process is a
// worker, and each question goes to one of them.
//
// # Silence, refusals and errors
//
// Nil, or an empty answer, means that the module has no opinion. A refusal is an answer. An error, a panic, or an answer that
// is late is a failure: it refuses nothing by itself; the operator decides what it means.
//
// # Concurrency
//
// Callbacks and web resources are called concurrently, up to [Options].Concurrency and WebConcurrency at once; requests beyond
// that are answered "busy" at once. The context of a call ends when its answer is no longer wanted.
//
// # Testing
//
// Package modulekittest runs a module against a scripted homeserver, without a network.
package modulekit
