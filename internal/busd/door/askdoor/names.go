package askdoor

import "net/http"

// compareNames logs that a homeserver is called otherwise than busd's configuration says: modules would take its users
// for strangers. Each name that differs is logged once. The last one is remembered, so that callers cannot fill memory.
func (d *Door) compareNames(r *http.Request) {
	theirs := r.URL.Query().Get("server_name")
	if theirs == "" || theirs == d.ServerName {
		return
	}
	if last := d.stranger.Swap(&theirs); last == nil || *last != theirs {
		d.Log.Error().Str("server_name", d.ServerName).Str("homeserver", theirs).
			Msg("a homeserver is called otherwise than server_name says: modules take its users for strangers")
	}
}
