package subjects

import "strings"

// StoreBucket is the JetStream key-value bucket of a module's store. Its stream is "KV_" and that name, its values are at
// "$KV.", that name, a dot and the key. The name follows from the server's and the module's: a dot is _2E, as is any
// other byte that is not a letter or a digit, by its hexadecimal number; an underscore is two.
func (s Server) StoreBucket(module string) string { return s.bucket("store", module) }

// LeaseBucket is the bucket in which a module's workers find out which of them leads. It is named as StoreBucket is.
func (s Server) LeaseBucket(module string) string { return s.bucket("lease", module) }

// KeepsIn reports whether a stream is that of a module's store or lease.
func (s Server) KeepsIn(module, stream string) bool {
	bucket, ok := strings.CutPrefix(stream, "KV_")
	return ok && (bucket == s.StoreBucket(module) || bucket == s.LeaseBucket(module))
}

// ValuesIn matches the subjects on which values of a stream are requested.
func (s Server) ValuesIn(stream string) string { return "$JS.API.DIRECT.GET." + stream + ".>" }

// Description is the subject on which JetStream is asked to describe a stream.
func Description(stream string) string { return "$JS.API.STREAM.INFO." + stream }

// IsBucket reports whether a bucket is named as that of a module of the server, whichever it is.
func (s Server) IsBucket(name string) bool {
	return strings.HasPrefix(name, s.buckets("store")) || strings.HasPrefix(name, s.buckets("lease"))
}

func (s Server) bucket(kind, module string) string {
	return s.buckets(kind) + inBucket.Replace(Token(module))
}

// buckets is how the names of a kind begin.
func (s Server) buckets(kind string) string { return "modulebus-" + kind + "-" + s.inBucket() + "-" }

func (s Server) inBucket() string {
	return inBucket.Replace(strings.TrimSuffix(strings.TrimPrefix(s.root, "modulebus."), "."))
}

// DecisionStream is the JetStream stream of the records of decisions. It is named as StoreBucket is, without a module.
func (s Server) DecisionStream() string { return "modulebus-decisions-" + s.inBucket() }

// inBucket spells a token with what the name of a bucket may have, so that a hyphen only separates and no two tokens look
// alike.
var inBucket = strings.NewReplacer("%", "_", "_", "__", "-", "_2D")

// bucketPermissions are what a worker needs to read and to write a bucket that busd made. It may make no stream and no
// consumer: either could deliver messages of others to any subject.
//
// It may get values one by one alone, by the subject of a key. In the other form of the request, JSON, it could have the server read whole
// stores into memory.
//
// It may not subscribe what it may publish: a user may answer each message that it gets, so a module that gets its own messages
// could publish on any subject, by naming it as the reply subject.
func bucketPermissions(bucket string) (publish []string) {
	stream := "KV_" + bucket
	return []string{
		Description(stream),
		"$JS.API.DIRECT.GET." + stream + ".>",
		"$KV." + bucket + ".>",
	}
}
