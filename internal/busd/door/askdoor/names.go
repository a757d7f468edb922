package askdoor

import "net/http"

// compareNames logs a homeserver's name that differs from busd's configuration, because modules would treat its users
// as users of another server. Only the last name is remembered, so that callers cannot fill memory; a name is logged if
// it differs from that.
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
