"""The conditions under which students are compared with their teacher, and the table of the comparisons."""

import pyarrow as pa

THEOREM = "same initialisation"
ALL_WEIGHTS, DRAWN_WEIGHTS = "other initialisation", "other initialisation, drawn weights"
OUTSIDE = "loss outside the theorem"
SAMPLED = "sampled text"

# A cosine above minus this is not negative. float64 rounds the difference of outputs that a step of 1e-4 has moved at
# about 1e-16 / 1e-4 of its size.
ROUNDING = 1e-9

# One student of one teacher. `draw` is its number within network, loss and inputs. `teacher_step` is ε, the length of
# the teacher's update Δθ_T; `student_step` is η, the learning rate of the student's Δθ_S. `inner_product` is
# ⟨Δθ_S, Δθ_T⟩, `negative` whether it is below 0 beyond ROUNDING. Only where the theorem holds: `first_order`, its value
# to first order in ε; `ratio` to it; `crossings`, how many ReLU units the teacher's step carries over their kink (where
# outputs have no derivative), counted once per context; `loss_change`, by how much the student's step changes the
# teacher's loss.
DRAWS = pa.schema(
    [
        ("network", pa.string()),
        ("teacher_loss", pa.string()),
        ("inputs", pa.string()),
        ("draw", pa.int32()),
        ("condition", pa.string()),
        ("imitation", pa.string()),
        ("same_initialisation", pa.bool_()),
        ("teacher_step", pa.float64()),
        ("student_step", pa.float64()),
        ("inner_product", pa.float64()),
        ("cosine", pa.float64()),
        ("negative", pa.bool_()),
        ("first_order", pa.float64()),
        ("ratio", pa.float64()),
        ("crossings", pa.int32()),
        ("loss_change", pa.float64()),
    ]
)
