"""The local cloud: what stands around the functions on AWS, on this machine, without Docker.

The functions are the deployed ones. Around them are an API Gateway (WebSocket API, HTTP API and
@connections), Lambda (execution environments, the Runtime API of the real runtime client) and the
pollers that carry queues to functions; MiniStack is the table, the queues and the secrets.

    pool = Pool("relay", lambda: InProcess(handler))
    async with Gateway.serve(websocket=pool.invoke, stage="live") as gateway:
        ...  # ws://{gateway.address}/live

It is stricter than most of what a function meets in the cloud: frames of one connection overlap,
come in any order and twice if wanted, environments are frozen between invocations, and are killed.
"""
