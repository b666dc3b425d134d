import Data
import Foundation
import ModelTestSupport
import Testing
import Training

/// One step in halves: two models with an adapter each, on a thread each, whose sums are added up.
@Suite struct ProcessGroupTests {
    /// What two members hand in, call by call.
    private final class Meeting: @unchecked Sendable {
        private let condition = NSCondition()
        private var calls: [[Int: [Double]]] = []
        private var hasFailed = false

        /// The sums of what both members hand in to their call `call`; the same bits for each.
        func sum(_ values: [Double], member: Int, call: Int) throws -> [Double] {
            condition.lock()
            defer { condition.unlock() }
            while calls.count <= call { calls.append([:]) }
            calls[call][member] = values
            condition.broadcast()
            while calls[call].count < 2 {
                if hasFailed { throw CancellationError() }
                condition.wait()
            }
            return zip(calls[call][0]!, calls[call][1]!).map { $0 + $1 }
        }

        /// Lets the other member go, who would wait for ever.
        func fail() {
            condition.lock()
            hasFailed = true
            condition.broadcast()
            condition.unlock()
        }
    }

    private final class Member: ProcessGroup {
        private let meeting: Meeting
        private let index: Int
        private var calls = 0

        init(_ meeting: Meeting, _ index: Int) {
            self.meeting = meeting
            self.index = index
        }

        func sum(_ values: inout [Double]) throws {
            values = try meeting.sum(values, member: index, call: calls)
            calls += 1
        }

        func sum(_ values: UnsafeMutableBufferPointer<Float>) throws {
            var numbers = values.map(Double.init)
            try sum(&numbers)
            for index in values.indices { values[index] = Float(numbers[index]) }
        }
    }

    /// What a half was left with.
    private struct Result: Sendable {
        var reports: [StepReport] = []
        var gradients: [[Float]] = []
        var values: [[Float]] = []
        var means: [[Float]] = []
        var taus: [Float] = []
        var activeTokens: [Int] = []

        init(_ bench: TrainingBench, steps: [[Batch]]) throws {
            for batches in steps { reports.append(try bench.loop.takeStep(on: batches)) }
            gradients = bench.adapted.adapter.parameters.map { $0.gradient.toArray() }
            values = bench.adapted.adapter.parameters.map { $0.value.toArray() }
            means = bench.loop.state.moments.map(\.mean)
            taus = bench.adapted.adapter.projections.map { $0.gate!.tau }
            activeTokens = bench.adapted.adapter.projections.map { $0.gate!.step.activeTokens }
        }
    }

    /// Gradients are clipped to a tenth of their norm or so, and dropout, whose masks belong to batches, is off.
    private static func bench(_ group: any ProcessGroup) throws -> TrainingBench {
        var configuration = TrainingBench.configuration
        configuration.gradientClipping = 0.02
        configuration.warmupSteps = 0
        let bench = try TrainingBench(configuration, group: group) { $0.dropout = 0 }
        try bench.adapted.closeGatesHalfway(over: TrainingBench.examples.map(\.tokens))
        return bench
    }

    /// The results of both halves. Each makes its model on its own thread.
    private static func runHalves(_ steps: [[[Batch]]]) async throws -> [Result] {
        let meeting = Meeting()
        return try await withThrowingTaskGroup(of: (Int, Result).self) { tasks in
            for index in 0..<2 {
                let own = steps.map { $0[index] }
                tasks.addTask {
                    let result = try await withCheckedThrowingContinuation { continuation in
                        Thread.detachNewThread {
                            do {
                                let bench = try Self.bench(Member(meeting, index))
                                continuation.resume(returning: try Result(bench, steps: own))
                            } catch {
                                meeting.fail()
                                continuation.resume(throwing: error)
                            }
                        }
                    }
                    return (index, result)
                }
            }
            var results: [Int: Result] = [:]
            for try await (index, result) in tasks { results[index] = result }
            return [results[0]!, results[1]!]
        }
    }

    @Test func halvesOfAStepGiveTheUndividedStep() async throws {
        let examples = TrainingBench.examples
        let parts = [Array(examples[0..<2]), Array(examples[2..<7])]
        let halves = [
            [Batch.packing(parts[0])],
            [Batch.packing(Array(parts[1][0..<3])), Batch.packing(Array(parts[1][3...]))],
        ]
        let counts = halves.map { $0.reduce(0) { $0 + $1.scoredCount } }
        #expect(2 * counts[0] < counts[1], "halves of unequal weight")
        let whole = try Result(Self.bench(SingleProcess()), steps: [[Batch.packing(examples)]])
        let results = try await Self.runHalves([halves])
        let report = try #require(whole.reports.first)
        #expect(report.gradientNorm > 0.1, "clipping bites")
        for result in results {
            let own = try #require(result.reports.first)
            #expect(abs(own.loss / report.loss - 1) < 1e-5)
            #expect(abs(own.gradientNorm / report.gradientNorm - 1) < 1e-5)
            #expect(own.tokens == report.tokens && own.scoredTokens == report.scoredTokens)
            #expect(own.sparsity == report.sparsity && result.activeTokens == whole.activeTokens)
            for (one, other) in zip(result.gradients, whole.gradients) { #expect(relativeError(one, other) < 1e-4) }
            // AdamW's first mean is (1 - beta1) times the gradient that clipping left.
            for (one, other) in zip(result.means, whole.means) { #expect(relativeError(one, other) < 1e-4) }
            for (one, other) in zip(result.taus, whole.taus) { #expect(abs(one - other) < 1e-4 * 0.005) }
        }
        #expect(results[0].values == results[1].values && results[0].taus == results[1].taus, "bit for bit")
    }

    /// A half without anything to score, or without a batch, takes part with nothing.
    @Test func halfWithoutABatchTakesTheOthersStep() async throws {
        let all = [Batch.packing(TrainingBench.examples)]
        let whole = try Result(Self.bench(SingleProcess()), steps: [all, all])
        let results = try await Self.runHalves([[all, []], [[], all]])
        for result in results {
            #expect(result.reports.map(\.loss) == whole.reports.map(\.loss))
            #expect(result.values == whole.values && result.taus == whole.taus)
        }
    }
}
