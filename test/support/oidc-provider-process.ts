import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { startOidcProvider } from './oidc-provider.ts'

// oidc-provider in a process of Node, for the tests that another runtime runs: `remote-oidc-provider.ts` starts it and asks it.
// The first line of its input is the certificates; it ends with its input.

const input = createInterface({ input: process.stdin })
input.once('line', async line => {
  const { issuer, tlsIssuer, clientSecret, privateKeys, ...provider } = await startOidcProvider(
    JSON.parse(line),
  )
  const control = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const { name, args } = JSON.parse(text) as { name: 'find'; args: [string] }
    response.end(JSON.stringify({ value: await provider[name](...args) }))
  })
  control.listen(0, '127.0.0.1', () => {
    const { port } = control.address() as AddressInfo
    console.log(JSON.stringify({ port, issuer, tlsIssuer, clientSecret, privateKeys }))
  })
})
input.once('close', () => process.exit())
