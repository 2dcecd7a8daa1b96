// The server of the npm package "soap", on Node's own HTTP server.
const http = require('http');
const fs = require('fs');
const soap = require('soap');
const [port, wsdl] = process.argv.slice(2);
const server = http.createServer((request, response) => response.end());
server.keepAliveTimeout = 75000;
server.listen(Number(port), '127.0.0.1', 1024, () => {
  const service = { um: { um: { Disconnect: () => ({}) } } };
  soap.listen(server, '/EWS/UM2007Legacy.asmx', service, fs.readFileSync(wsdl, 'utf8'));
});
