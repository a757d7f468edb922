// Keeps the page as it is now. Parts come as HTML that busd has made, and take the place of older ones.
'use strict';
{
  const shown = 200; // rows of decisions
  const again = 3000; // ms until it is tried again to follow
  const { version, key } = document.currentScript.dataset; // Without the key, a script is told nothing.
  const find = id => document.getElementById(id);
  const rows = find('decisions'), pause = find('pause');
  const ids = part => [...part.querySelectorAll('a')].map(a => a.textContent);
  let paused = false, news = [], missed = 0, last = ids(rows)[0] ?? '', events;

  const parse = html => {
    const t = document.createElement('template');
    t.innerHTML = html;
    return t.content;
  };

  // replace keeps what the reader has opened, and where the keyboard is.
  const replace = (old, part) => {
    const details = old.querySelector('details'), fresh = part.querySelector('details');
    if (details && fresh) fresh.open = details.open;
    const focused = old.contains(document.activeElement);
    old.replaceWith(part);
    if (focused) part.querySelector('summary, a')?.focus();
  };

  const show = content => {
    for (const part of [...content.children]) {
      const old = find(part.id);
      if (old) replace(old, part);
    }
  };

  // list takes over modules that are others, or in another order.
  const list = content => {
    const open = new Set([...document.querySelectorAll('#modules details[open]')].map(d => d.parentElement.id));
    find('modules').replaceChildren(content);
    for (const id of open) find(id)?.querySelector('details')?.setAttribute('open', '');
  };

  const addRows = content => {
    const known = new Set(ids(rows)); // The page may have been made while they were.
    const fresh = [...content.querySelectorAll('tr')].filter(row => !known.has(ids(row)[0]));
    news.push(...fresh.map(row => row.className));
    fresh.forEach(exact);
    rows.prepend(...fresh.reverse());
    while (rows.children.length > shown) rows.lastElementChild.remove();
  };

  const exact = part => {
    for (const t of part.querySelectorAll('time[data-exact]')) t.textContent = new Date(t.dateTime).toLocaleTimeString([], { hour12: false });
  };

  // say tells of new decisions in a sentence, for who does not see the table; not of each.
  const say = () => {
    if (!news.length) return;
    const count = name => news.filter(n => n === name).length;
    const also = [['refused', count('refused')], ['failed', count('failed')]].filter(([, n]) => n).map(([name, n]) => `${n} ${name}`);
    find('news').textContent = `${news.length} new ${news.length === 1 ? 'decision' : 'decisions'}${also.length ? ': ' + also.join(', ') : ''}.`;
    news = [];
  };

  // age says how long ago each time was.
  const age = () => {
    for (const t of document.querySelectorAll('time:not([data-exact])')) {
      const s = Math.max(0, (Date.now() - Date.parse(t.dateTime)) / 1000);
      const [n, unit] = s < 60 ? [s, 's'] : s < 3600 ? [s / 60, 'min'] : s < 172800 ? [s / 3600, 'h'] : [s / 86400, 'd'];
      t.textContent = `${Math.floor(n)} ${unit} ago`;
    }
  };

  const connection = text => { find('connection').textContent = text; };

  const follow = () => {
    events = new EventSource('/_modulebus/live?' + new URLSearchParams({ version, key, after: last }));
    const on = (name, handle) => events.addEventListener(name, e => { if (!paused) handle(e.data, e.lastEventId); });
    on('part', html => { show(parse(html)); age(); });
    on('modules', html => { list(parse(html)); age(); });
    on('decisions', (html, id) => { addRows(parse('<table><tbody>' + html + '</tbody></table>')); last = id; });
    on('missed', n => {
      missed += Number(n);
      find('missed').textContent = `${missed} more were made faster than this page shows them.`;
    });
    events.onopen = () => connection('This page shows what happens as it happens.');
    events.onerror = () => {
      connection('The connection to busd is lost. What you see is old; the page tries again. If that does not help, reload it: you may have to sign in.');
      if (events.readyState === EventSource.CLOSED) setTimeout(() => { if (!paused) follow(); }, again); // Such as 503 of a busd that ends.
    };
  };

  pause.hidden = false;
  pause.addEventListener('click', () => {
    if (paused) location.reload();
    paused = true;
    events.close();
    pause.setAttribute('aria-pressed', 'true');
    pause.textContent = 'Go on';
    connection('Paused.');
  });
  exact(document);
  age();
  follow();
  setInterval(say, 5000);
  setInterval(age, 10000);
}
