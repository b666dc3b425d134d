import CKernels
import TensorCore

extension Tensor {
    /// Adds sum_i w_i z_i z_i' over the rows z_i of this F32 tensor [rows, width] to `sums`, [width, width] row-major,
    /// in double precision; every w_i is 1 where `weights` is nil.
    package func addOuterProducts(weights: [Float]?, to sums: inout [Double]) {
        precondition(sums.count == columns * columns && weights?.count ?? rows == rows)
        sums.withUnsafeMutableBufferPointer { sums in
            if let weights {
                weights.withUnsafeBufferPointer {
                    tspeft_outer_sums(floats, $0.baseAddress, sums.baseAddress, rows, columns)
                }
            } else {
                tspeft_outer_sums(floats, nil, sums.baseAddress, rows, columns)
            }
        }
    }
}
