'use strict';
// Node's fetch. What is read and written here is told in README.md.

const { readFileSync } = require('node:fs');
const readline = require('node:readline');
// fetch itself has no option for an authority or a certificate of its own.
const { Agent } = require('undici');

const MESSAGES = 'http://schemas.microsoft.com/exchange/services/2006/messages';
const [url, folder, password] = process.argv.slice(2);
const read = (name) => readFileSync(`${folder}/${name}`);
const connect = { ca: read('authority.pem') };
const headers = { 'Content-Type': 'text/xml; charset=utf-8' };
if (password === undefined) {
  Object.assign(connect, { cert: read('certificate.pem'), key: read('key.pem') });
} else {
  headers.Authorization = `Basic ${Buffer.from(password).toString('base64')}`;
}
const dispatcher = new Agent({ connect });

const OPERATIONS = {
  place: ['PlayOnPhone', 'entryId', 'DialString'],
  state: ['GetCallInfo', 'CallId'],
  end: ['Disconnect', 'CallId'],
};

async function carryOut([command, ...words]) {
  const [operation, ...names] = OPERATIONS[command];
  const fields = names.map((name, index) => `<${name}>${words[index]}</${name}>`).join('');
  const body =
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>' +
    `<${operation} xmlns="${MESSAGES}">${fields}</${operation}></s:Body></s:Envelope>`;
  const answer = await fetch(url, { method: 'POST', headers, body, dispatcher });
  const text = await answer.text();
  const part = (name) => new RegExp(`<(?:\\w+:)?${name}[^<>]*>([^<]+)<`).exec(text)?.[1] ?? null;
  if (part('faultcode') !== null) {
    const told = { text: part('faultstring'), detail: part('ExceptionType') };
    return { fault: { type: String(answer.status), code: part('faultcode'), ...told } };
  }
  if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
  if (command === 'place') return { call: part('PlayOnPhoneResponse') };
  if (command === 'state') return { state: part('CallState'), cause: part('EventCause') };
  if (!text.includes('<DisconnectResponse')) throw new Error(text);
  return { ended: true };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await carryOut(line.split('\t'))));
  }
}

main();
