"""AWS's side: SageMaker's API as a port, presigned URLs, and the upstream sessions that they buy.

`keeper.SessionKeeper` is what the data plane holds: one for each notebook and role. It asks a
`control_plane.ControlPlane` (boto3: `sagemaker.SageMaker`) for URLs and an exchange
(`exchange.NotebookExchange`) for sign-ins. `signed_out.shape_of` tells which responses look as if a session no
longer held, and `notebook_api.honours` asks whether it does. Nothing here knows the configuration, the policy or a
caller.
"""
