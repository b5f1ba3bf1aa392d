// Decides each line of standard input, {policy, context, action, resource}, with @cloud-copilot/iam-simulate, and
// prints one word a line: Allowed, ExplicitlyDenied or ImplicitlyDenied. Started by tests/policy/test_oracle.py in
// the directory where the simulator is installed.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(join(process.cwd(), 'package.json'))
const { runUnsafeSimulation } = await import(pathToFileURL(require.resolve('@cloud-copilot/iam-simulate')).href)

const ACCOUNT = '123456789012'
const results = readFileSync(0, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const { policy, context, action, resource } = JSON.parse(line)
    return runUnsafeSimulation(
      {
        request: {
          principal: `arn:aws:iam::${ACCOUNT}:user/someone`,
          action,
          resource: { resource, accountId: ACCOUNT },
          contextVariables: context
        },
        identityPolicies: [{ name: 'policy', policy }],
        serviceControlPolicies: [],
        resourceControlPolicies: []
      },
      {}
    )
  })
process.stdout.write(results.join('\n') + '\n')
