// Runs a cell in a kernel with JupyterLab's own client, and reads a file's listing: `node run.mjs URL TOKEN`.
// Started by tests/e2e/test_programs_with_tokens.py in the directory where the client is installed.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(join(process.cwd(), 'package.json'))
const dns = require('node:dns')
const lookup = dns.lookup
// Browsers take every name below `localhost` for this machine (RFC 6761 section 6.3); Node asks the resolver.
dns.lookup = (host, ...rest) => lookup(host.endsWith('.localhost') ? '127.0.0.1' : host, ...rest)

const { ContentsManager, KernelManager, ServerConnection } = require('@jupyterlab/services')

const [baseUrl, token] = process.argv.slice(2)
const serverSettings = ServerConnection.makeSettings({
  baseUrl,
  wsUrl: baseUrl.replace(/^http/, 'ws'),
  token,
  appendToken: true
})
const kernels = new KernelManager({ serverSettings })
const kernel = await kernels.startNew({ name: 'python3' })
let printed = ''
try {
  const future = kernel.requestExecute({ code: 'print(6*7)' })
  future.onIOPub = (message) => {
    if (message.header.msg_type === 'stream') printed += message.content.text
  }
  const reply = await future.done
  if (reply.content.status !== 'ok') throw new Error(JSON.stringify(reply.content))
} finally {
  await kernel.shutdown()
}
const listing = await new ContentsManager({ serverSettings }).get('')
process.stdout.write(JSON.stringify({ printed, type: listing.type }) + '\n')
process.exit(0)
