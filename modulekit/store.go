package modulekit

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// History is how many values of a key a module's store keeps.
const History = 8

// ErrNoStore is what a module gets that has no store: it is on no bus, or the NATS it is on has no JetStream.
var ErrNoStore = errors.New("modulekit: no store: JetStream is not enabled on this NATS")

// KeyValue returns the module's own key-value store, which all its workers share. It takes the place of Synapse's
// run_db_interaction. It has compare-and-set (Create, and Update with the revision that was read), watches, and the last
// [History] values of a key; a value has at most the server's max_payload, 1 MiB by default.
//
// The store is as durable as the JetStream that keeps it: replicated on a cluster of three or more, in busd's
// nats.store_dir when NATS is embedded, and gone with busd where that is not set. JetStream acknowledges writes before
// they are synced to disk (sync_interval, 2 minutes by default), so a power failure may lose the last of them.
func (api *ModuleAPI) KeyValue(ctx context.Context) (jetstream.KeyValue, error) {
	return openStore(ctx, api.options.nc, jetstream.KeyValueConfig{
		Bucket:      bucketName("modulebus", api.options),
		Description: "store of modulebus module " + api.Name(),
		History:     History,
	})
}

// bucketName is legal whatever the names are, and tells them apart.
func bucketName(kind string, o Options) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.ServerName + "\x00" + o.Module)) // It never fails.
	return fmt.Sprintf("%s-%s-%016x", kind, serviceName(o.Module), h.Sum64())
}

// openStore makes the bucket if it is not there, on as many servers of a cluster as make it safe.
func openStore(ctx context.Context, nc *nats.Conn, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	if nc == nil {
		return nil, ErrNoStore
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, c.Bucket)
	for _, c.Replicas = range []int{3, 1} {
		if !errors.Is(err, jetstream.ErrBucketNotFound) && !tooFewServers(err) {
			break
		}
		kv, err = js.CreateKeyValue(ctx, c)
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) {
		return nil, ErrNoStore
	}
	return kv, err
}

// tooFewServers reports whether a bucket could not be replicated as often as was asked.
func tooFewServers(err error) bool {
	var api *jetstream.APIError
	const notSupported, insufficient = 10074, 10005
	return errors.As(err, &api) && (api.ErrorCode == notSupported || api.ErrorCode == insufficient)
}
