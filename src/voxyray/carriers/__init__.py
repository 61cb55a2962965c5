"""Carriers: what is particular to Twilio and to those who speak its dialect."""
