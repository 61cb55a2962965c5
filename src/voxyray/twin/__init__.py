"""The twin: a simulated Twilio that calls your app, with its timing and its quirks."""
