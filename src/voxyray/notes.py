"""What the model is told besides the caller's words: notes in brackets, unfinished tools' results.

The caller never hears these.
"""

RESUME_NOTE = "[The caller made a sound but said nothing. Go on from where you were cut off.]"
RESULT_NOTE = "[A tool that was still running has finished. Tell the caller the outcome.]"
SILENCE_NOTE = "[The caller says nothing.]"
GREET_NOTE = "[The caller is on the line. Greet them.]"
CANCELLED = "Cancelled: the caller spoke before it was done."
END_CANCELLED = "Not done: the caller spoke first. The call goes on."
END_FAILED_NOTE = "[That did not work. Tell the caller, and go on with the call.]"
NO_OUTCOME = "No outcome within {0:g} s. It may still take effect: do not repeat it unasked."
STILL_RUNNING = "Not finished yet. It is still running and cannot be stopped; do not call it again."
FAILED_UNEXPECTEDLY = (
    "The tool failed unexpectedly ({0}). Do not promise anything it should have done."
)
NOT_RECORDED = "It was not done: the system cannot record it right now. Offer to try again later."
OUTCOME_UNKNOWN = "An earlier attempt was cut off and its outcome is unknown. Do not repeat it."
LOST = "It was lost on the way and did not finish. Try once more, or offer another way."
OUT_OF_TIME = "It took too long and was stopped. Tell the caller, and do not start it again now."
