// Package natsdoor is the front door over NATS.
package natsdoor
