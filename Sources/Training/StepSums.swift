import Adapters
import Compute
import TensorCore

/// The processes that take the steps of a run together, each over batches of its own: what belongs to a step is summed
/// over all of them. All make the same calls in the same order.
package protocol ProcessGroup: AnyObject {
    /// Replaces each number by its sum over all processes, the same bits in each.
    func sum(_ values: inout [Double]) throws
    /// The same for F32 elements.
    func sum(_ values: UnsafeMutableBufferPointer<Float>) throws
}

/// A process by itself.
package final class SingleProcess: ProcessGroup {
    /// The group of this process alone.
    package init() {}

    package func sum(_ values: inout [Double]) {}

    package func sum(_ values: UnsafeMutableBufferPointer<Float>) {}
}

/// What one optimizer step adds up over its batches and processes.
package struct StepSums: Sendable, Equatable {
    /// Tokens passed forward and backward.
    package var tokens = 0
    /// Rows scored.
    package var scored = 0
    /// The sum of the scored rows' losses.
    package var loss = 0.0
    /// What each gate has seen, in the order of the projections.
    package var gates: [GateSums] = []

    /// The mean loss of the scored rows; 0 for none.
    package var meanLoss: Double { loss / Double(max(1, scored)) }

    /// The sums of all processes.
    func summed(over group: any ProcessGroup) throws -> StepSums {
        var values = [Double(tokens), Double(scored), loss]
        for gate in gates {
            values += [gate.agreeingMu, Double(gate.tokens), Double(gate.activeTokens), gate.ratios]
        }
        try group.sum(&values)
        var sums = StepSums()
        // Counts are whole numbers far below 2^53.
        (sums.tokens, sums.scored, sums.loss) = (Int(values[0]), Int(values[1]), values[2])
        sums.gates = gates.indices.map { index in
            let first = 3 + 4 * index
            var gate = GateSums()
            gate.agreeingMu = values[first]
            (gate.tokens, gate.activeTokens) = (Int(values[first + 1]), Int(values[first + 2]))
            gate.ratios = values[first + 3]
            return gate
        }
        return sums
    }
}

extension ProcessGroup {
    /// Sums the gradients of `parameters` over all processes, in place.
    func sumGradients(_ parameters: [AdapterParameter]) throws {
        for parameter in parameters {
            let gradient = parameter.gradient
            try withExtendedLifetime(gradient) {
                try sum(UnsafeMutableBufferPointer(start: gradient.floats, count: gradient.count))
            }
        }
    }
}
