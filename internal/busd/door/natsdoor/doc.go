// Package natsdoor is how homeservers ask over NATS.
package natsdoor
