// Package policyserver is the policy server of rooms. It checks that another homeserver may ask about an event and that
// the event is genuine, asks modules, and signs the events that they let pass.
//
//	s, err := policyserver.New(policyserver.Options{…})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	answer := s.Sign(ctx, policyserver.Request{…})
//
// Everything that a [Server] reads from others is bounded: requests, answers with keys, how many of each are remembered
// and fetched at once, and how long each takes. It is safe for concurrent use. See the Matrix specification v1.18,
// "Policy servers", and ADR 43.
package policyserver
