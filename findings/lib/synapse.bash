# Starts a Synapse with a module of one file, for the scripts beside this folder: synapse VERSION MODULE.py, where class Module is in
# MODULE.py. Leaves $url, $python and $dir, and ends everything with the script. Lines in $more go to homeserver.yaml, and packages in
# $packages are installed, too.
synapse() {
	dir=$(mktemp -d)
	trap 'kill "${pid:-}" 2>/dev/null || :; wait 2>/dev/null || :; rm -rf "$dir" ${ASKED:+"$ASKED" "$ASKED.yaml"}' EXIT
	python3 -m venv "$dir/venv"
	python=$dir/venv/bin/python
	"$python" -m pip install --quiet --disable-pip-version-check "matrix-synapse==$1" 'setuptools<82' ${packages:-}
	cat >"$dir/module.py"
	local port
	port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	url=http://127.0.0.1:$port
	cat >"$dir/homeserver.yaml" <<-END
		server_name: example.com
		signing_key_path: $dir/signing.key
		media_store_path: $dir/media
		database: {name: sqlite3, args: {database: $dir/homeserver.db}}
		listeners: [{port: $port, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [${names:-client, media}]}]}]
		trusted_key_servers: []
		registration_shared_secret: secret
		report_stats: false
		bcrypt_rounds: 4
		rc_message: {per_second: 1000, burst_count: 1000}
		rc_login: {address: {per_second: 1000, burst_count: 1000}, account: {per_second: 1000, burst_count: 1000}}
		user_directory: {search_all_users: true}
		modules: [{module: module.Module, config: {}}]
		${more:-}
	END
	"$python" -m synapse.app.homeserver -c "$dir/homeserver.yaml" --generate-keys >"$dir/log" 2>&1
	(cd "$dir" && PYTHONPATH=$dir exec "$python" -m synapse.app.homeserver -c homeserver.yaml >"$dir/log" 2>&1) &
	pid=$!
	for _ in $(seq 600); do
		if "$python" -c "import urllib.request as u; u.urlopen('$url/health')" 2>/dev/null; then return; fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	tail -20 "$dir/log" >&2
	exit 1
}
