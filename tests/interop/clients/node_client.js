'use strict';
// Node's soap. What is read and written here is told in README.md.

const readline = require('node:readline');
const soap = require('soap');

async function carryOut(service, [command, ...words]) {
  switch (command) {
    case 'place': {
      const [answer] = await service.PlayOnPhoneAsync({ entryId: words[0], DialString: words[1] });
      return { call: answer.PlayOnPhoneResponse };
    }
    case 'state': {
      const [answer] = await service.GetCallInfoAsync({ CallId: words[0] });
      const info = answer.GetCallInfoResponse;
      return { state: info.CallState, cause: info.EventCause };
    }
    case 'end':
      await service.DisconnectAsync({ CallId: words[0] });
      return { ended: true };
  }
  throw new Error(`no such command: ${command}`);
}

function tell(error) {
  const fault = error.root?.Envelope?.Body?.Fault;
  if (fault === undefined) throw error;
  const text = fault.faultstring?.$value ?? fault.faultstring;
  const detail = fault.detail?.ExceptionType ?? null;
  return { fault: { type: error.constructor.name, code: fault.faultcode, text, detail } };
}

async function main() {
  const service = await soap.createClientAsync(process.argv[2]);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const answer = await carryOut(service, line.split('\t')).catch(tell);
    console.log(JSON.stringify(answer));
  }
}

main();
