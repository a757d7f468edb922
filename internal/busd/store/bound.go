package store

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modulebus/modulebus/subjects"
)

const (
	// maxBytes is how much one module may store in bytes, unless nats.max_store says otherwise. Beyond: its store takes deletions
	// alone, and the log says so.
	maxBytes = 1 << 30

	// lookTime is how often the sizes of stores are looked at.
	lookTime = 2 * time.Second

	// room is what a full store still takes, in bytes, so that something can be deleted: a deletion is a message, too.
	room = 1 << 20

	// more is what it takes, in bytes, each time that busd looks when that is used up: values as small as a deletion are taken, too.
	more = 64 << 10

	// deletion is the size of a message that deletes, in bytes. A full store takes no larger ones.
	deletion = 256
)

// bounds gives stores the limits that their size calls for, so that no module fills the disk. JetStream reserves as much of the disk as
// a stream's limit says, so only stores that are half full have one.
type bounds struct {
	js      jetstream.JetStream
	options Options
	server  subjects.Server
	gauge   prometheus.Gauge
	full    map[string]bool // streams that take deletions alone
	failed  map[string]bool // streams that could not be bounded
	bounded bool            // whether there may be streams with limits
}

// limit gives the stream of a store the limits for its size, where it may have most bytes; -1 is none. Half full, it is kept below
// most by JetStream. Full, it takes deletions alone, as many as fit into some room. When small values have used that up, there is a
// little more each time, so that deletions go on, up to an eighth of most in all. A store that is far larger than most, because
// nats.max_store was lowered, has that beyond the size at which it became full.
func limit(c *jetstream.StreamConfig, size, most int64) {
	switch {
	case size < most/2:
		c.MaxBytes, c.MaxMsgSize = -1, -1
	case size < most-room:
		c.MaxBytes, c.MaxMsgSize = most, -1
	case c.MaxMsgSize != deletion, c.Metadata[fullAt] == "" && size > c.MaxBytes-more: // An earlier version did not say where it became full.
		c.MaxBytes, c.MaxMsgSize = max(size, most)+room, deletion
		c.Metadata = maps.Clone(c.Metadata)
		if c.Metadata == nil {
			c.Metadata = map[string]string{}
		}
		c.Metadata[fullAt] = strconv.FormatInt(size, 10)
	case size > c.MaxBytes: // It was written to while it got this limit, and takes nothing.
		c.MaxBytes = size + room
	case size > c.MaxBytes-more && size < max(most, sizeWhenFull(c))+room+most/8:
		c.MaxBytes = size + more
	}
}

// fullAt is the key of a stream's metadata for the size that it had when it became full.
const fullAt = "full_at"

func sizeWhenFull(c *jetstream.StreamConfig) int64 {
	size, err := strconv.ParseInt(c.Metadata[fullAt], 10, 64)
	if err != nil {
		return 0 // It became full under an earlier version, and has room.
	}
	return size
}

func (s *Service) newBounds() (*bounds, error) {
	js, err := jetstream.New(s.options.Conn)
	return &bounds{
		js: js, options: s.options, server: s.server, gauge: s.full, bounded: true,
	}, err
}

// watch looks at the sizes of stores until ctx ends.
func (b *bounds) watch(ctx context.Context) {
	ticker := time.NewTicker(lookTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.look(ctx)
		}
	}
}

// look gives each store its limits. Where all that JetStream keeps is less than half of what one store may have, there is
// nothing to do. What fails is done the next time.
func (b *bounds) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	kept, err := b.js.AccountInfo(ctx)
	if err != nil || !b.bounded && int64(kept.Store) < b.options.MaxBytes/2 {
		return
	}
	all, bounded := b.js.ListStreams(ctx, jetstream.WithStreamListSubject("$KV.>")), false
	full, failed := map[string]bool{}, map[string]bool{}
	for stream := range all.Info() {
		bucket, _ := strings.CutPrefix(stream.Config.Name, "KV_")
		if !b.server.IsBucket(bucket) {
			continue
		}
		c, err := b.hold(ctx, stream)
		if err != nil {
			b.tellFailed(stream, err)
			failed[c.Name] = true
		}
		if c.MaxMsgSize == deletion {
			b.tellFull(c, stream.State.Bytes)
			full[c.Name] = true
		}
		bounded = bounded || c.MaxBytes >= 0 || err != nil
	}
	if all.Err() != nil {
		return
	}
	b.full, b.failed, b.bounded = full, failed, bounded
	b.gauge.Set(float64(len(full)))
}

// hold gives a store its limits, and returns those that it has then.
func (b *bounds) hold(ctx context.Context, stream *jetstream.StreamInfo) (jetstream.StreamConfig, error) {
	c := stream.Config
	c.Duplicates = idTime // An earlier version made streams without it.
	limit(&c, int64(stream.State.Bytes), b.options.MaxBytes)
	if c.MaxBytes == stream.Config.MaxBytes && c.MaxMsgSize == stream.Config.MaxMsgSize && c.Duplicates == stream.Config.Duplicates {
		return c, nil
	}
	if _, err := b.js.UpdateStream(ctx, c); err != nil {
		return stream.Config, err
	}
	return c, nil
}

// tellFailed logs once that a store could not be bounded.
func (b *bounds) tellFailed(stream *jetstream.StreamInfo, err error) {
	if !b.failed[stream.Config.Name] {
		b.options.Log.Error().Err(err).Str("stream", stream.Config.Name).Uint64("bytes", stream.State.Bytes).
			Msg("cannot bound what a module stores: trying again")
	}
}

// tellFull logs once that a store is full.
func (b *bounds) tellFull(c jetstream.StreamConfig, size uint64) {
	if !b.full[c.Name] {
		b.options.Log.Warn().Str("stream", c.Name).Str("of", c.Description).Uint64("bytes", size).Int64("most", b.options.MaxBytes).
			Msg("a module's store is full: it takes deletions alone until something is deleted, or nats.max_store is raised")
	}
}
