"""AWS's side: SageMaker's API as a port, presigned URLs, and the upstream sessions that they buy.

`keeper.SessionKeeper` is what the data plane holds: one for each notebook and role. It asks a
`control_plane.ControlPlane` (boto3: `sagemaker.SageMaker`) for URLs and an exchange
(`exchange.NotebookExchange`) for sign-ins. Whose an answer is: `signed_out.shape_of` tells which responses look like
the front end's own, `notebook_api.honours` asks what is the matter (`status_answer` has the table of answers), and
`front_end.outcome` says what follows. Nothing here knows the configuration, the policy or a caller.
"""
