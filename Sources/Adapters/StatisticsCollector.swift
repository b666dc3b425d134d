import CKernels
import Compute
import TensorCore

/// Sums what the gates of an adapter do over a set of tokens into `ModuleStatistics`: install it with
/// `InjectedAdapter.observe(_:)`, run the model forward, read `statistics`.
package final class StatisticsCollector: GateObserver {
    private var sums: [String: ModuleStatistics] = [:]
    private var order: [String] = []
    private let collectsInnerSums: Bool

    /// A collector without tokens. The sums of z z' cost rank^2 operations a token and module, so they are taken only
    /// on demand.
    package init(collectingInnerSums: Bool) {
        collectsInnerSums = collectingInnerSums
    }

    /// The sums so far, a module each in the order of computation.
    package var statistics: [ModuleStatistics] { order.map { sums[$0]! } }

    package func observe(
        _ projection: GatedProjection, _ decision: GateDecision, updateNorms: Tensor, outputNorms: Tensor,
        inner: Tensor?
    ) {
        var total = sums.removeValue(forKey: projection.path)
        if total == nil { order.append(projection.path) }
        var sum =
            total
            ?? ModuleStatistics(
                module: projection.path, rank: collectsInnerSums ? inner?.columns : nil)
        total = nil
        sum.tokens += decision.ratios.count
        sum.active += decision.activeCount
        for (index, ratio) in decision.ratios.enumerated() {
            let update = Double(updateNorms.floats[index])
            let output = Double(outputNorms.floats[index])
            sum.sumUpdateSquared += update * update
            if decision.isActive[index] { sum.sumActiveUpdateSquared += update * update }
            sum.sumBaseSquared += output * output
            sum.sumUpdateNorm += update
            if ratio.isFinite { sum.sumRatio += Double(ratio) }
            sum.ratioHistogram[ModuleStatistics.bin(of: ratio)] += 1
        }
        if collectsInnerSums, let inner { addInnerSums(inner, decision, to: &sum) }
        sums[projection.path] = sum
    }

    private func addInnerSums(_ inner: Tensor, _ decision: GateDecision, to sum: inout ModuleStatistics) {
        let weights = decision.isActive.map { $0 ? Float(1) : 0 }
        func add(_ target: inout [Double]?, _ weights: [Float]?) {
            guard var values = target else { return }
            target = nil
            values.withUnsafeMutableBufferPointer { values in
                if let weights {
                    weights.withUnsafeBufferPointer {
                        tspeft_outer_sums(inner.floats, $0.baseAddress, values.baseAddress, inner.rows, inner.columns)
                    }
                } else {
                    tspeft_outer_sums(inner.floats, nil, values.baseAddress, inner.rows, inner.columns)
                }
            }
            target = values
        }
        add(&sum.innerSums, nil)
        add(&sum.activeInnerSums, weights)
    }

    package func observe(_ projection: GatedProjection, mu: UnsafeBufferPointer<Float>) {}
}
