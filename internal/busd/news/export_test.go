package news

import "github.com/nats-io/nats.go/jetstream"

// Consumer is what this busd makes while it tells news.
func (s *Service) Consumer() jetstream.ConsumerConfig { return s.consumer() }
