"""Turns the numbers of an evaluation into a report: Markdown, one HTML page, figures, JSON and CSV.

`results`, as it stands in `results.json`, schema version 1. `M` is a measured number with its 95 % interval,
`{"value": v, "low": l, "high": h}`, where `low` and `high` may be null. Shares and confidences lie in [0, 1], radii
are l_inf in pixel units.

```
schema_version  1
created         ISO 8601 time
versions        {package: version}
command         the command line
data            {name, num_classes, class_names, image_shape, num_test, fingerprint}
settings        {epsilon, larger_epsilon, ood_epsilon, num_noise, num_bounded, adversarial_samples, num_trials,
                num_bootstrap, seed, quick}
runs            list of
  name, path, model_sha256, seconds, differentiable
  kind          "run", "keras", "savedmodel" or "onnx"
  method        "plain", "ceda", "acet" or null
  flags         {flag: text} of the training, or null
  test_error    M
  rows          list, one per set, `set` unique within its kind and radius
    set, radius, n, note         n = 0: the set is missing, `note` says why and the numbers are null
    kind                         "test", "ood", "noise", "adversarial_noise" (the paper's attack), "worst_case_noise",
                                 "worst_case_ood" or "adversarial_samples"
    mmc, share_above_half        M, mean maximal softmax confidence, share of images above one half
    auroc, auroc_ties_against, fpr95_id_positive, fpr95_ood_positive, aupr_id_positive, aupr_ood_positive
                                 M, against the test set; not for kind "test"
    success_rate                 M, only for "adversarial_samples"
  attacks       list of {name, radius, objective, start, steps, mmc, share_above_half, curve: [[steps, mmc], ...]
                or null}; the curve is the mean of the best confidence so far
  flat_share    {share, threshold, radius} or null: share of noise images whose largest |gradient| of the log
                confidence in the input stays below the threshold
  interval_bounds {num_images, level, radii: [{radius, found, bound, share_below}, ...]} or null: mean confidence on
                noise that an attack found and that interval bounds allow, share of images bounded below the level
  alpha_scaling {num_trials, median_alpha, share_reached, level, share_confident_clipped: M, clipped_level,
                largest_alpha, exact: {median_alpha, share_reached} or null} or null
  calibration   {num_images, is_held_out (false: trained on, null: not known), temperature,
                before, after: {ece, ece_equal_mass, nll, brier},
                reliability: {before, after: [[mean confidence, accuracy, count], ...]},
                risk_coverage: {coverage, risk, aurc},
                thresholds: [{name, threshold, num_images, accepted_test, accepted_worst_noise, guarantee}]} or null
  left_out      list of sentences: what was left out, and why
```

`results.csv` holds the rows, one line per set and run, every M as three columns `NAME`, `NAME_low`, `NAME_high`.
"""

# isort: off
from keras_acet.report.writing import write
# isort: on

__all__ = [
    "write",
]
