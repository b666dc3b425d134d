import TensorCore

/// A record of operations, played backwards for gradients (reverse-mode differentiation).
///
/// Each operation makes a new variable and appends a closure that takes its output's gradient and adds to its inputs'.
/// Any variable may be read by any number of operations, or several times by one: gradients add up. A closure holds the
/// values that its backward pass reads and no others, and is let go once it has run.
package final class Tape {
    /// Memory, threads and products of the operations.
    package let context: ComputeContext
    /// Whether operations are kept for a backward pass.
    package let isRecording: Bool
    private var steps: [() -> Void] = []

    /// An empty tape. A tape that does not record serves evaluation and generation.
    package init(_ context: ComputeContext, isRecording: Bool) {
        self.context = context
        self.isRecording = isRecording
    }

    /// Appends the backward pass of an operation, on a recording tape.
    package func record(_ backward: @escaping () -> Void) {
        if isRecording { steps.append(backward) }
    }

    /// Runs the backward passes from last to first. Gradients of the last outputs must be there already (the loss
    /// operation puts them there).
    package func runBackward() {
        while let step = steps.popLast() { step() }
    }
}
