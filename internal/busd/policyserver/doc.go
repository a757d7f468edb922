// Package policyserver answers as the policy server of rooms: it checks that another homeserver may ask about an event and
// that the event is what it says it is, has modules asked, and signs what they let pass.
//
//	s, err := policyserver.New(policyserver.Options{…})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	answer := s.Sign(ctx, policyserver.Request{…})
//
// What a [Server] reads of others is bounded: a request, an answer with keys, how many of each are remembered and fetched at
// once, and how long each takes. It is safe for concurrent use. See the Matrix specification v1.18, "Policy servers", and
// ADR 43.
package policyserver
