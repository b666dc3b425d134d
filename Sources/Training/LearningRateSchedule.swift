import Glibc

/// The shape of the learning rate over a run.
package enum ScheduleShape: String, Sendable, CaseIterable {
    /// The same throughout.
    case constant
    /// Falls in a straight line to 0 at the last step.
    case linear
    /// Falls along half a cosine to 0 at the last step.
    case cosine
}

/// The learning rate's factor at each optimizer step: a linear rise over the warm-up, then the shape, as transformers'
/// `get_scheduler` has them.
package struct LearningRateSchedule: Sendable, Equatable {
    /// What follows the warm-up.
    package let shape: ScheduleShape
    /// Steps of the rise from 0; 0 for none.
    package let warmupSteps: Int
    /// Steps of the whole run, the warm-up included.
    package let totalSteps: Int

    /// A schedule as given.
    package init(shape: ScheduleShape, warmupSteps: Int, totalSteps: Int) {
        self.shape = shape
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The factor on the base rate at `step`, counted from 0.
    package func factor(at step: Int) -> Double {
        if step < warmupSteps { return Double(step) / Double(max(1, warmupSteps)) }
        let span = Double(max(1, totalSteps - warmupSteps))
        let progress = min(1, Double(step - warmupSteps) / span)
        return switch shape {
        case .constant: 1
        case .linear: 1 - progress
        case .cosine: 0.5 * (1 + cos(.pi * progress))
        }
    }
}
