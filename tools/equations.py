"""What a step of each policy commits, as an equation, for docs/reference/policies.md, which explains the letters.

Does not decode: src/nap/decoding/policies does.
"""

EQUATIONS = {
    "ar": "the q leftmost of M",
    "low_confidence": "the q of M with the largest c_i",
    "random": "q of M, drawn uniformly",
    "entropy": "the q of M with the smallest H_i = -sum_v p_i(v) log p_i(v)",
    "margin": "the q of M with the largest p_i(first) - p_i(second)",
    "threshold": "{i in M : c_i >= tau}; if that is none, argmax c",
    "factor": "the n largest c, n = max{n : (n + 1)(1 - c_(n)) < f}, at least 1",
    "bounded": """
the n largest c, n = max{n : L_n - U_n > delta}, at least 1
L_n = sum_{k<=n} c_(k) - (n - 1),  U_n = 1 - c_(n)""",
    "entropy_bound": "the n smallest H, n = max{n : sum_{k<=n} H_(k) - H_(n) <= gamma}",
    "localleap": """
A = {i in M : c_i >= tau};  A and {i in M : c_i >= relaxed, |i - a| <= radius for an a in A}
if A is empty, argmax c""",
    "dilated": "pass t: {k : (k - 1) mod floor(B / base^t) = 0},  k the place in the block of B",
    "hierarchy": "of each run of neighbouring masks: argmax c",
    "parallel_forced": "of each unfinished path p: its q_p largest c_i,  sum_p q_p = q",
    "parallel_threshold": "of each unfinished path p: {i in p : c_i >= tau} and argmax c of p",
    "parallel_entropy_bound": """
of each unfinished path p: its n_p smallest H
n_p = max{n : sum_{k<=n} H_(k) - H_(n) <= gamma}""",
    "credit": """
threshold on logits + alpha log(1 + C)
C <- beta C, then C[top token] += p(top token)^gamma""",
    "klass": "{i in M : c_i > tau, KL(p_t, p_{t-1}) < eps in the last `history` steps}; else the q largest c",
    "prophet": """
the q largest c; everything at once as soon as
the mean over the answer of (largest logit - second) >= early, middle or late  (progress below .33, .67, above)""",
    "multi_block": """
of all open blocks: {i : H_i <= entropy} and the surest
the next block opens when the last open one is written to the share `add`""",
    "lopa": """
threshold on the best of `branches` canvases b (the row's own, and it with one more token)
score(b) = weight c_b + (1 - weight) mean of the `low` smallest share of c in b;  c_b = 1 for the row's own""",
    "self_speculative": """
the commits of low_confidence with q = 1, up to `ahead` of them in a forward,
each only where it is what the canvas before it says""",
    "remdm": """
fill to `ratio` by largest c; `loops` times: masks over the k tokens x_i of lowest p_i(x_i), then fill k
then the rest""",
    "p2": """
after step t the m_t positions of lowest max_v p_i(v), written or not, are masks
m_t is what the budget leaves""",
    "saber": """
{i in M : c_i > mean of all c committed so far}, at least n
then masks over the max(n // 2, ceil(m / 8)) of m tokens whose c rose least since the last step""",
    "wino": "{i in M : c_i > tau}; then masks over the tokens x_i of the block with p(x_i | all but x_i) < back",
    "dawn": """
{c >= tau}; and {c >= induce : depends on a decoded token}; and of the rest with c >= low a set in which none depends
on another.  i depends on j where attention(i, j) >= edge""",
    "learned": "each i of M with probability sigmoid(b_i / temperature), b_i > 0 where that is 0; b from the guide",
    "remix": """
{i in M : c_i > tau}; if that is none, argmax c;  the others are fed (1 - share) E[mask] + share sum_v p_i(v) E[v]
and are masks again where JS(p_i, p_i of the step before) > back""",
    "refusion": """
nothing chosen: the stretches whose first mask has c >= first, or the best; their first masks
else of each: its masks x_1 .. x_n, n = max{n <= ahead : x_j = draft_j and p(x_j | before, x_<j) >= token for j < n}""",
    "demask": """
S <- argmax c, then by falling c >= least each j of M for which sum_{i before j in S} D_ij over all of S stays <= tau
D_ij = TV(p(x_j), p(x_j | x_i)), as the guide says""",
    "codila": """
all of M: argmax_x sum_j log p(x_j | x_<j),  p(x_j | x_<j) ~ p_j(x_j) exp(a_j(x_j | x_<j)),  a_j from the guide""",
    "token_edit": """
{i in M : c_i > tau}, at least `least`
and over a written x_i its rival v where p_i(v) > edit, v != x_i""",
    "draft_edit": """
what `draft` commits, until nothing is masked, in D forwards; then, D share / (1 - share) times at most,
over a written x_i its best rival v where p_i(v) > edit, v != x_i""",
    "draft_revise": """
what `draft` commits, until nothing is masked, in D forwards; then, D share / (1 - share) times at most, left to right:
c_i in V + DEL in place of x_i, and n_i in V behind it where n_i differs from what follows; each where p > edit""",
    "draft_redo": """
what `draft` commits, until nothing is masked, in D forwards; then, in D share / (1 - share) forwards at most,
masks over the `most` smallest p(x_i | all but x_i) < back, and what `draft` commits there""",
}
