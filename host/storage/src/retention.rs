//! Retention plans: checked against grants and the safety floor, shown, executed, audited.
