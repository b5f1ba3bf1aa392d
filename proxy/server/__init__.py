"""The running gateway: everything is composed here, and pages, the API and operations are answered here.

1. `run` is `nbgate serve`: it waits for signals, drains, and ends the process in time.
2. `process`, `serving` and `running` compose it, in three steps that return values: what lasts for the process, what
   serves, what listens. `compose` says of which settings each part is made.
3. `reload` exchanges what counts now, which stands in `in_effect` and in `DataPlane.current`; `watch` looks at files.
4. `listening` and `accepting` take connections, for `proxy.dataplane`.
5. `own_pages` finds the handler of a page, which gets a `page_request`. What one caller sees of the instances is worked
   out in `instance_views`, by the `viewer`; what a caller has done to them goes through `instance_orders`.
6. Rooms: `pages` for people, `api` for programs, `sagemaker` for AWS's clients, `operations` for who runs it.
7. `checking`, `explaining` and `connect` find what `proxy.commands` prints.
"""
