// Package modulekit is the module's side: it connects a program to a homeserver's bus, so that the homeserver asks it.
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
// which it replaces if that went well. A program may run any number of times, on any number of machines: each is a
// worker, and each question goes to one of them.
//
// # Silence, refusals and errors
//
// Returning nil or an empty answer is to have no opinion. A refusal is an answer. An error, a panic, or being late is
// a failure: it refuses nothing by itself, and what it means is the operator's to say.
//
// # Concurrency
//
// Callbacks and web resources are called concurrently, up to Options.Concurrency of them; what is over that is answered
// "busy" at once. A context ends when nobody waits for the answer any more.
//
// # Testing
//
// Package modulekittest runs a module against a scripted homeserver, without a network.
package modulekit
