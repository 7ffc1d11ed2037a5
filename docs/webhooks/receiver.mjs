// A receiver of webhooks with Express: verifies deliveries, stores them, and keeps a copy of mailboxes.
//
//   npm install express pg standardwebhooks
//   MAILROOM=https://mail.example API_KEY=mr_... WEBHOOK_SECRET=whsec_... DATABASE_URL=postgres://... node receiver.mjs
//
// One process: events are applied in the order in which they are stored.
import {setTimeout as pause} from 'node:timers/promises';
import express from 'express';
import pg from 'pg';
import {Webhook} from 'standardwebhooks';

const {MAILROOM, API_KEY, WEBHOOK_SECRET, DATABASE_URL, PORT = '3000', RETRY_SECONDS = '5'} = process.env;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS events (
    number BIGSERIAL PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, is_applied BOOLEAN DEFAULT FALSE
  );
  CREATE TABLE IF NOT EXISTS mailboxes (id TEXT PRIMARY KEY, position TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS emails (id TEXT PRIMARY KEY, mailbox_id TEXT NOT NULL, email TEXT NOT NULL);
`;
const webhook = new Webhook(WEBHOOK_SECRET);
const pool = new pg.Pool({connectionString: DATABASE_URL});
// Without a listener a lost idle connection ends the process.
pool.on('error', error => console.error(error));
let wake = () => {};

const app = express();

// The signature is over the bytes as they came: `express.json()` must not come first.
app.post('/mailroom', express.raw({type: () => true, limit: '1mb'}), async (request, response) => {
  try {
    webhook.verify(request.body, request.headers);
  } catch {
    return response.status(400).send('the signature does not verify');
  }
  // Stored once, then answered: what is not answered 2xx is delivered again.
  await pool.query('INSERT INTO events (id, body) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING', [
    request.get('webhook-id'), request.body.toString(),
  ]);
  response.sendStatus(204);
  wake();
});

// Applies stored events when one comes, and again later if one could not be applied.
async function applyForEver() {
  for (;;) {
    const news = new Promise(resolve => { wake = resolve; });
    const areApplied = await applyAll();
    await (areApplied ? news : Promise.race([news, pause(1000 * RETRY_SECONDS)]));
  }
}

// Applies what is stored, and returns whether all could be; a failure keeps back the rest of its mailbox only.
async function applyAll() {
  const failed = new Set();
  try {
    const {rows} = await pool.query('SELECT number, body FROM events WHERE NOT is_applied ORDER BY number');
    for (const {number, body} of rows) {
      const event = JSON.parse(body);
      if (failed.has(event.data.mailbox_id)) continue;
      try {
        await apply(number, event);
      } catch (error) {
        console.error(`event ${number} is not applied`, error);
        failed.add(event.data.mailbox_id);
      }
    }
  } catch (error) {
    console.error('the events cannot be read', error);
    return false;
  }
  return failed.size === 0;
}

// Applies an event, after what was missed before it.
async function apply(number, {type, data}) {
  const {rows: [mailbox]} = await pool.query('SELECT position FROM mailboxes WHERE id = $1', [data.mailbox_id]);
  // Without `previous_position` an event stands apart from its chain: a test, or one that was asked for again.
  const isInChain = Boolean(data.previous_position);
  if (type === 'mailbox.resync_required') {
    await copyAnew(data.mailbox_id);
  } else if (isInChain && !data.chain_start && data.previous_position !== mailbox?.position) {
    await closeGap(data.mailbox_id, mailbox?.position);
  }
  await transaction(async client => {
    if (type === 'mailbox.disconnected') {
      await client.query('DELETE FROM emails WHERE mailbox_id = $1', [data.mailbox_id]);
      await client.query('DELETE FROM mailboxes WHERE id = $1', [data.mailbox_id]);
    } else if (isInChain) {
      await storePosition(client, data.mailbox_id, data.position);
    }
    if ('email_id' in data) await storeEmail(client, data.mailbox_id, data.email_id, data.email);
    await client.query('UPDATE events SET is_applied = TRUE WHERE number = $1', [number]);
  });
}

// Applies the changes after a position; copies the mailbox anew where there is none, or it is too old.
async function closeGap(mailboxId, since) {
  for (let hasMore = true; hasMore;) {
    const page = since ? await get('/emails/changes', {mailbox_id: mailboxId, since}) : null;
    if (page === null) return copyAnew(mailboxId);
    await transaction(async client => {
      for (const change of page.changes) {
        if (!change.type.startsWith('label_')) await storeEmail(client, mailboxId, change.id, change.email);
      }
      await storePosition(client, mailboxId, page.next_since);
    });
    since = page.next_since;
    hasMore = page.has_more;
  }
}

// Copies all emails of a mailbox; of one that was disconnected there are none.
async function copyAnew(mailboxId) {
  await pool.query('DELETE FROM emails WHERE mailbox_id = $1', [mailboxId]);
  for (let cursor = ''; cursor !== null;) {
    const page = await get('/emails', {mailbox_id: mailboxId, limit: '200', cursor}) ?? {emails: [], next_cursor: null};
    await transaction(async client => {
      for (const email of page.emails) await storeEmail(client, mailboxId, email.id, email);
    });
    cursor = page.next_cursor;
  }
}

// Returns the answer of Mailroom; null: the position is too old (410), or the mailbox was disconnected (404).
async function get(path, parameters) {
  const answer = await fetch(`${MAILROOM}${path}?${new URLSearchParams(parameters)}`, {
    headers: {Authorization: `Bearer ${API_KEY}`},
    signal: AbortSignal.timeout(30_000),
  });
  if (answer.status === 404 || answer.status === 410) return null;
  if (!answer.ok) throw new Error(`${path} is answered ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

// Stores an email over the copy of it; null: it was deleted.
async function storeEmail(client, mailboxId, emailId, email) {
  await client.query('DELETE FROM emails WHERE id = $1', [emailId]);
  if (email !== null) {
    await client.query('INSERT INTO emails VALUES ($1, $2, $3)', [emailId, mailboxId, JSON.stringify(email)]);
  }
}

// Stores up to which position the changes of a mailbox are applied.
async function storePosition(client, mailboxId, position) {
  await client.query(
    'INSERT INTO mailboxes VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET position = excluded.position',
    [mailboxId, position],
  );
}

async function transaction(work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query('COMMIT');
    client.release();
  } catch (error) {
    // Closes the connection, which ends the transaction.
    client.release(error);
    throw error;
  }
}

await pool.query(SCHEMA);
app.listen(Number(PORT), '127.0.0.1');
await applyForEver();
